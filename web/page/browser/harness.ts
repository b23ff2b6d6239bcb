// A browser, and pages of the servers that STERNA_SERVERS names: `open` takes everybody, `slow` takes its time for each
// token, `guarded` wants the key. On all of them `chatty` is the first model; it may think.

import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect } from "vitest";

interface Servers {
  open: string;
  slow: string;
  guarded: string;
  key: string;
}

export const servers = JSON.parse(process.env.STERNA_SERVERS ?? "{}") as Servers;

/** Short answers without thoughts, the same ones each time. */
export const SHORT = { max_tokens: 12, seed: 3, thinking: false };

let browser: Browser;
let contexts: BrowserContext[] = [];
/** What the console says of a request that has no answer. */
export const REFUSED = /^Failed to load resource/;

/** What pages did that they must never do: errors, requests to other origins. */
let faults: string[] = [];

/** Has each test begin with a fresh browser profile, and fail where a page did what it must not. */
export function useBrowser(): void {
  beforeAll(async () => {
    browser = await chromium.launch({
      executablePath: process.env.CHROMIUM ?? "chromium",
      args: ["--no-sandbox", "--disable-gpu"], // CI runs as root
    });
  });
  afterEach(async () => {
    const seen = faults;
    faults = [];
    await Promise.all(contexts.map((context) => context.close()));
    contexts = [];
    expect(seen).toEqual([]);
  });
  afterAll(() => browser.close());
}

export interface Opened {
  at?: string;
  settings?: object;
  context?: BrowserContextOptions;
  /** A script that runs before those of the page. */
  before?: () => void;
  /** What the console may say. */
  expected?: RegExp;
}

/** Opens the page, with settings that were chosen before. */
export async function openPage(opened: Opened = {}): Promise<Page> {
  const { at = servers.open, settings = SHORT, context: options = {}, before, expected = /^$/ } = opened;
  const context = await browser.newContext({ viewport: { width: 1100, height: 800 }, ...options });
  contexts.push(context);
  await context.addInitScript((chosen) => {
    // Only once: what the user chooses later must outlast a reload.
    if (!localStorage.getItem("sterna-preferences"))
      localStorage.setItem("sterna-preferences", JSON.stringify({ settings: chosen }));
  }, settings);
  if (before) await context.addInitScript(before);
  return watched(await context.newPage(), at, expected);
}

/** A second tab of the same browser. */
export async function secondTab(page: Page, at = servers.open): Promise<Page> {
  return watched(await page.context().newPage(), at, /^$/);
}

async function watched(page: Page, at: string, expected: RegExp): Promise<Page> {
  page.setDefaultTimeout(200_000);
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    if (origin !== new URL(at).origin && protocol !== "blob:") faults.push(`a request to ${request.url()}`);
  });
  page.on("pageerror", (error) => faults.push(`an error: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error" && !expected.test(message.text())) faults.push(`in the console: ${message.text()}`);
  });
  page.on("response", async (response) => {
    // The console tells the status alone; whoever looks for the cause needs the server's words.
    if (response.status() >= 500) console.log(response.url(), await response.text().catch(String));
  });
  page.on("dialog", (dialog) => {
    faults.push(`a dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  await page.goto(at);
  await page.locator("#model-state:not(:empty), .notice, dialog[open]").first().waitFor();
  return page;
}

export const composer = (page: Page) => page.getByRole("textbox", { name: "Message", exact: true });
export const answers = (page: Page) => page.locator(".message.assistant");
export const questions = (page: Page) => page.locator(".message.user .plain");
export const button = (page: Page, name: string) => page.getByRole("button", { name, exact: true });
export const entries = (page: Page) => page.locator("#conversations button");

/** Sends a message; does not wait for the answer. */
export async function send(page: Page, text: string): Promise<void> {
  await composer(page).fill(text);
  await composer(page).press("Enter");
}

/** Sends a message and waits for the whole answer. Returns its text. */
export async function ask(page: Page, text: string): Promise<string> {
  await send(page, text);
  await finished(page);
  return answerText(page);
}

/** Waits until no answer is being written. */
export async function finished(page: Page): Promise<void> {
  await page.waitForFunction(() =>
    document.querySelector(".message.assistant:last-child[aria-busy=false] .foot button"),
  );
}

export function answerText(page: Page): Promise<string> {
  return answers(page).last().locator(":scope > .body").innerText();
}

/** An answer that a test writes itself, in place of the server. */
export interface Script {
  /** Sends a chunk of the stream as it is. */
  raw(text: string): Promise<void>;
  /** Sends a chunk with a new piece of the answer. */
  say(text: string): Promise<void>;
  /** Ends the stream as it should be. */
  end(): Promise<void>;
  /** Ends the stream in the middle. */
  close(): Promise<void>;
}

interface ScriptedWindow extends Window {
  scripted: ReadableStreamDefaultController<Uint8Array>;
}

/** Opens a page whose next answers are written by the test. */
export async function openScripted(opened: Opened = {}): Promise<{ page: Page; script: Script }> {
  const page = await openPage({
    ...opened,
    before: () => {
      const real = window.fetch;
      window.fetch = (input, init) => {
        if (!String(input).endsWith("chat/completions")) return real(input, init);
        const body = new ReadableStream<Uint8Array>({
          start: (controller) => {
            (window as unknown as ScriptedWindow).scripted = controller;
            init?.signal?.addEventListener("abort", () => controller.error(init.signal?.reason));
          },
        });
        return Promise.resolve(new Response(body));
      };
    },
  });
  const raw = (text: string) =>
    page.evaluate(
      (sent) => (window as unknown as ScriptedWindow).scripted.enqueue(new TextEncoder().encode(sent)),
      text,
    );
  const chunk = (value: object) => raw(`data: ${JSON.stringify(value)}\n\n`);
  const close = () => page.evaluate(() => (window as unknown as ScriptedWindow).scripted.close());
  const script: Script = {
    raw,
    say: (text) => chunk({ choices: [{ delta: { content: text } }] }),
    end: async () => {
      await chunk({ choices: [{ delta: {}, finish_reason: "stop" }], timings: { prompt_n: 5, predicted_n: 7 } });
      await raw("data: [DONE]\n\n");
    },
    close,
  };
  return { page, script };
}

/** The text of a file that a click downloads. */
export async function downloaded(page: Page, click: () => Promise<void>): Promise<string> {
  const [download] = await Promise.all([page.waitForEvent("download"), click()]);
  const chunks: Buffer[] = [];
  for await (const chunk of await download.createReadStream()) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

export async function upload(page: Page, text: string): Promise<void> {
  await page.setInputFiles("#import-file", { name: "a.json", mimeType: "application/json", buffer: Buffer.from(text) });
}
