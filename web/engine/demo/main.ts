/** The demo: load a model, talk with it, see how fast it is. */

import { DeviceLost, type Message, RemoteModel } from "../src/index.ts";

function element<K extends HTMLElement>(id: string): K {
  return document.getElementById(id) as K;
}

const url = element<HTMLInputElement>("url");
const file = element<HTMLInputElement>("file");
const progress = element<HTMLProgressElement>("progress");
const status = element<HTMLOutputElement>("status");
const messages = element("messages");
const prompt = element<HTMLTextAreaElement>("prompt");
const mode = element<HTMLInputElement>("mode");
const temperature = element<HTMLInputElement>("temperature");
const open = element<HTMLButtonElement>("open");
const send = element<HTMLButtonElement>("send");
const stop = element<HTMLButtonElement>("stop");

let worker: Worker | undefined;
let model: RemoteModel | undefined;
let conversation: Message[] = [];
let controller = new AbortController();

function say(text: string, isError = false): void {
  status.textContent = text;
  status.classList.toggle("error", isError);
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function bubble(kind: string, text: string): HTMLElement {
  const box = document.createElement("div");
  box.className = `message ${kind}`;
  box.textContent = text;
  messages.append(box);
  box.scrollIntoView({ block: "end" });
  return box;
}

function ready(isReady: boolean): void {
  prompt.disabled = send.disabled = !isReady;
  if (isReady) prompt.placeholder = "Write a message";
}

async function load(): Promise<void> {
  open.disabled = true;
  ready(false);
  worker?.terminate();
  worker = new Worker(new URL("../src/worker_entry.ts", import.meta.url), { type: "module" });
  model = undefined;
  conversation = [];
  progress.hidden = false;
  try {
    let needs = "";
    model = await RemoteModel.load(worker, file.files?.[0] ?? url.value, {
      onEstimate: ({ weights, context, rows }) => {
        needs = `; on the GPU up to ${megabytes(weights + context + rows)}`;
      },
      onProgress: ({ phase, bytes, total }) => {
        progress.max = total;
        progress.value = bytes;
        say(`${phase}: ${megabytes(bytes)} of ${megabytes(total)}${needs}`);
      },
    });
    say(`${model.name} on ${model.device}`);
    mode.checked = !model.hasTemplate;
    ready(true);
  } catch (error) {
    say(error instanceof Error ? error.message : String(error), true);
  } finally {
    progress.hidden = true;
    open.disabled = false;
  }
}

async function answer(current: RemoteModel, text: string): Promise<void> {
  bubble("user", text);
  const box = bubble("assistant", "");
  controller = new AbortController();
  ready(false);
  stop.hidden = false;
  const options = { temperature: Number(temperature.value), minP: 0.05, maxTokens: 256, signal: controller.signal };
  let said = "";
  let first = 0;
  try {
    const asked: Message[] = [...conversation, { role: "user", content: text }];
    const generation = mode.checked ? current.generate(text, options) : current.chat(asked, options);
    for await (const piece of generation) {
      first ||= performance.now();
      said += piece.text;
      box.textContent = said;
    }
    const { completionTokens } = generation.usage;
    const seconds = (performance.now() - first) / 1000;
    const speed = document.createElement("div");
    speed.className = "speed";
    speed.textContent = `${completionTokens} tokens, ${((completionTokens - 1) / seconds).toFixed(1)} a second`;
    box.append(speed);
    if (!mode.checked) conversation = [...asked, { role: "assistant", content: said }];
  } catch (error) {
    if (!controller.signal.aborted) say(error instanceof Error ? error.message : String(error), true);
    if (error instanceof DeviceLost) model = undefined;
  } finally {
    stop.hidden = true;
    ready(model === current);
    prompt.focus();
  }
}

element<HTMLFormElement>("load").addEventListener("submit", (event) => {
  event.preventDefault();
  void load();
});
element<HTMLFormElement>("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = prompt.value;
  if (!model || !text.trim()) return;
  prompt.value = "";
  void answer(model, text);
});
prompt.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  element<HTMLFormElement>("ask").requestSubmit();
});
file.addEventListener("change", () => void load());
url.addEventListener("input", () => {
  file.value = ""; // what was given last is loaded
});
stop.addEventListener("click", () => controller.abort());

// The page opens without a network once it was loaded; models are kept when they are loaded.
navigator.serviceWorker?.register("./offline.js").catch(() => {});
