/** Measures this engine, and another beside it: the first token of a prompt, and the tokens after it. */

import { type MemoryEstimate, Sterna } from "../src/index.ts";
import { bandwidth } from "./bandwidth.ts";

/** What another engine's module exports as its default. */
export interface Contestant {
  name: string;
  load(url: string): Promise<Loaded>;
}

export interface Loaded {
  /** Goes on with a text by the most likely tokens, never ends early, and tells `token` of each. */
  generate(prompt: string, tokens: number, token: () => void): Promise<void>;
  dispose(): void;
  /** Bytes of weights that a token reads, where the engine knows. */
  bytes?: number;
}

export interface Row {
  engine: string;
  /** Seconds, and of these seconds of the processor where the page is told. */
  first: Cost;
  /** Of a token after the first. */
  token: Cost;
  bytes?: number;
}

export interface Cost {
  seconds: number;
  processor?: number;
}

declare global {
  interface Window {
    /** Seconds of the processor so far, of all of the browser; bench/run.mjs gives it. */
    processorSeconds?: () => Promise<number>;
    bench: typeof bench;
  }
}

/** About 64 tokens. */
const PROMPT =
  "It was late in the evening when the old man came down to the harbour and looked out over the water. The ships lay " +
  "still, the lamps on the quay were lit one after another, and somebody was singing in the house by the bridge, so " +
  "that he stopped and listened for a while before he went on to the door, and";

const sterna: Contestant = {
  name: "Sterna",
  async load(url) {
    const told: MemoryEstimate[] = [];
    const model = await Sterna.load(url, { cache: false, onEstimate: (estimate) => void told.push(estimate) });
    return {
      bytes: told[0].token,
      dispose: () => model.dispose(),
      async generate(prompt, maxTokens, token) {
        for await (const { ids } of model.generate(prompt, { maxTokens, ignoreEos: true })) ids.forEach(token);
      },
    };
  },
};

async function clock(): Promise<Cost> {
  const processor = await window.processorSeconds?.();
  return { seconds: performance.now() / 1000, ...(processor !== undefined && { processor }) };
}

function between(before: Cost, after: Cost, count = 1): Cost {
  const seconds = (after.seconds - before.seconds) / count;
  if (before.processor === undefined || after.processor === undefined) return { seconds };
  return { seconds, processor: (after.processor - before.processor) / count };
}

async function measure(contestant: Contestant, url: string, tokens: number): Promise<Row> {
  const loaded = await contestant.load(url);
  try {
    await loaded.generate("The sea", 2, () => {}); // what is made once is made
    const start = await clock();
    await loaded.generate(PROMPT, 1, () => {});
    const first = between(start, await clock());
    let begun: Promise<Cost> | undefined;
    await loaded.generate("The sea", tokens, () => {
      begun ??= clock();
    });
    const end = await clock();
    const token = between((await begun) as Cost, end, tokens - 1);
    return { engine: contestant.name, first, token, ...(loaded.bytes && { bytes: loaded.bytes }) };
  } finally {
    loaded.dispose();
  }
}

/** Measures Sterna, and the engine of the module `other`, with a model; bytes a second that the GPU reads come first. */
async function bench(url: string, tokens: number, other?: string): Promise<{ bandwidth: number; rows: Row[] }> {
  const contestants = [sterna];
  if (other) contestants.push((await import(/* @vite-ignore */ other)).default);
  const read = await bandwidth();
  const rows: Row[] = [];
  for (const contestant of contestants) rows.push(await measure(contestant, url, tokens));
  return { bandwidth: read, rows };
}

window.bench = bench;

function input(id: string): HTMLInputElement {
  return document.getElementById(id) as HTMLInputElement;
}

document.getElementById("ask")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const results = document.getElementById("results") as HTMLElement;
  results.textContent = "Measuring …";
  try {
    const { bandwidth, rows } = await bench(input("model").value, Number(input("tokens").value), input("other").value);
    const lines = rows.map(({ engine, first, token, bytes }) => {
      const share = bytes
        ? `, ${(bytes / 1e6).toFixed(1)} MB a token, ${share100(bytes / token.seconds / bandwidth)}`
        : "";
      return `${engine}: first token ${first.seconds.toFixed(3)} s, then ${(1 / token.seconds).toFixed(1)} a second${share}`;
    });
    results.textContent = [`This GPU reads ${(bandwidth / 1e9).toFixed(1)} GB/s.`, ...lines].join("\n");
  } catch (error) {
    results.textContent = error instanceof Error ? error.message : String(error);
  }
});

function share100(share: number): string {
  return `${(100 * share).toFixed(0)} % of what the GPU can read`;
}
