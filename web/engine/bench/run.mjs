/** The benchmark's page in a headless browser, with the processor's time of the whole browser:
 *
 *     node bench/run.mjs MODEL.gguf [TOKENS] [OTHER.js]
 *
 * CHROMIUM names the browser, FLAGS its flags (by default those of SwiftShader, which computes on the processor). */

import { createReadStream, existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { createServer } from "vite";

const [model, tokens = "16", other] = process.argv.slice(2);
const { CHROMIUM = "/usr/bin/chromium", FLAGS } = process.env;
const SWIFTSHADER = "--no-sandbox --enable-unsafe-webgpu --use-webgpu-adapter=swiftshader --enable-features=Vulkan";

const wrong = [
  !model && "No model is given.",
  ...[model, other].map((path) => path && !existsSync(path) && `There is no file ${path}.`),
  !(Number.isInteger(Number(tokens)) && Number(tokens) >= 2) && `TOKENS is a whole number from 2 on, not ${tokens}.`,
].find(Boolean);
if (wrong) {
  console.error(`${wrong} Usage: node bench/run.mjs MODEL.gguf [TOKENS] [OTHER.js]`);
  process.exit(2);
}

/** A file in ranges of its bytes, or whole. */
function sendFile(path, request, reply) {
  const { size } = statSync(path);
  const range = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? "");
  const start = range ? Number(range[1]) : 0;
  const end = range?.[2] ? Math.min(Number(range[2]), size - 1) : size - 1;
  const partly = range && { "Content-Range": `bytes ${start}-${end}/${size}` };
  const type = /\.m?js$/.test(path) ? "text/javascript" : "application/octet-stream";
  reply.writeHead(range ? 206 : 200, { "Content-Type": type, "Content-Length": end - start + 1, ...partly });
  if (request.method === "HEAD") reply.end();
  else createReadStream(path, { start, end }).pipe(reply);
}

const given = { "/given/model.gguf": resolve(model), ...(other && { "/given/other.js": resolve(other) }) };
const server = await createServer({
  root: fileURLToPath(new URL("..", import.meta.url)),
  configFile: false,
  logLevel: "error",
  plugins: [
    {
      name: "given files",
      configureServer: ({ middlewares }) => {
        middlewares.use((request, reply, next) => {
          const path = given[(request.url ?? "").split("?")[0]];
          if (path) sendFile(path, request, reply);
          else next();
        });
      },
    },
  ],
  server: { host: "127.0.0.1", port: 0, hmr: false, watch: null },
});
await server.listen();
const { port } = server.httpServer.address();

const TICKS = 100;

/** Seconds of the processor of a process and all that it has started, those that have ended included. */
function processorSeconds(root) {
  const children = new Map();
  const ticks = new Map();
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name)))
    try {
      const fields = readFileSync(`/proc/${pid}/stat`, "utf-8").split(") ")[1].split(" ");
      children.set(fields[1], [...(children.get(fields[1]) ?? []), pid]);
      ticks.set(
        pid,
        fields.slice(11, 15).reduce((sum, value) => sum + Number(value), 0),
      );
    } catch {} // it has ended
  const sum = (pid) => (ticks.get(pid) ?? 0) + (children.get(pid) ?? []).reduce((all, child) => all + sum(child), 0);
  return sum(String(root)) / TICKS;
}

const browser = await chromium.launch({ executablePath: CHROMIUM, args: (FLAGS ?? SWIFTSHADER).split(" ") });
const page = await browser.newPage();
page.on("console", (message) => message.type() === "error" && console.error(message.text()));
const started = new Set(readdirSync("/proc").filter((name) => /^\d+$/.test(name)));
const [root] = [...started].filter((pid) => {
  try {
    const [, ppid] = readFileSync(`/proc/${pid}/stat`, "utf-8").split(") ")[1].split(" ");
    return ppid === String(process.pid) && /chrom/.test(readFileSync(`/proc/${pid}/cmdline`, "utf-8"));
  } catch {
    return false;
  }
});
await page.exposeFunction("processorSeconds", () => processorSeconds(root));
await page.goto(`http://127.0.0.1:${port}/bench/index.html`);
await page.waitForFunction(() => "bench" in window);
page.setDefaultTimeout(0);
const result = await page.evaluate(
  ([url, count, module]) => window.bench(url, Number(count), module),
  ["/given/model.gguf", tokens, other && "/given/other.js"],
);
console.log(JSON.stringify(result, null, 2));
await browser.close();
await server.close();
