import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

const { CHROMIUM, STERNA_SERVER, SCREENSHOT } = process.env;
const SWIFTSHADER = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"];

interface TraceEvent {
  name: string;
  pid: number;
  tid: number;
  /** Microseconds of the processor. */
  tdur?: number;
  args: { name?: string };
}

let context: BrowserContext;
let page: Page;
const errors: string[] = [];

beforeAll(async () => {
  const browser = await chromium.launch({ executablePath: CHROMIUM ?? "", args: ["--no-sandbox", ...SWIFTSHADER] });
  context = await browser.newContext({ viewport: { width: 900, height: 640 } });
  page = await context.newPage();
  page.on("pageerror", (error) => errors.push(error.message));
  page.setDefaultTimeout(240_000);
});

afterAll(async () => {
  await context?.browser()?.close();
});

async function load(): Promise<void> {
  await page.getByRole("button", { name: "Load" }).click();
  await page.locator("#status", { hasText: "sterna-tern on" }).waitFor();
}

async function write(text: string): Promise<string> {
  await page.getByLabel("Temperature").fill("0");
  await page.getByLabel("Message").fill(text);
  await page.getByRole("button", { name: "Send" }).click();
  const answer = page.locator(".assistant").last();
  await page.waitForFunction(() => (document.querySelector(".assistant:last-child")?.textContent ?? "").length > 20);
  if (SCREENSHOT) await page.screenshot({ path: SCREENSHOT });
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByRole("button", { name: "Stop" }).waitFor({ state: "hidden" });
  return (await answer.textContent()) ?? "";
}

/** Milliseconds of the processor that the longest task of the page's own thread took while `run` did. */
async function longestTask(run: () => Promise<unknown>): Promise<number> {
  const browser = context.browser() as Browser;
  await browser.startTracing(page, { categories: ["toplevel", "disabled-by-default-devtools.timeline"] });
  await run();
  const { traceEvents }: { traceEvents: TraceEvent[] } = JSON.parse((await browser.stopTracing()).toString());
  const threads = traceEvents.filter(({ name, args }) => name === "thread_name" && args.name === "CrRendererMain");
  const main = new Set(threads.map(({ pid, tid }) => `${pid} ${tid}`));
  const tasks = traceEvents.filter(({ name, pid, tid }) => name.endsWith("RunTask") && main.has(`${pid} ${tid}`));
  expect(tasks.length).toBeGreaterThan(20);
  return Math.max(...tasks.map(({ tdur = 0 }) => tdur)) / 1000;
}

test("the page loads the model, writes, and does so again without a network", async () => {
  await page.goto(`${STERNA_SERVER}/web/`);
  await load();
  let text = "";
  const longest = await longestTask(async () => {
    text = await write("It was a dark and stormy night");
  });
  expect(longest).toBeLessThan(50); // the model computes in a worker
  expect(text).toContain(", and the rain was");
  await page.reload(); // the service worker keeps the files that it sees
  await page.locator("#open").waitFor();
  await context.setOffline(true);
  await page.reload();
  await load();
  const again = await write("It was a dark and stormy night");
  expect(again.slice(0, 20)).toBe(text.slice(0, 20));
  expect(errors).toEqual([]);
});
