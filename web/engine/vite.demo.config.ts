import { defineConfig } from "vite";

const SERVER = "http://127.0.0.1:8080";

// The demo at /web of `sterna serve` (src/sterna/server/page), and the model that the server keeps there.
export default defineConfig({
  root: "demo",
  base: "./", // wherever a proxy puts it
  server: { proxy: { "/sterna-tern.gguf": { target: SERVER, rewrite: (path) => `/web${path}` } } },
  worker: { format: "es", rolldownOptions: { output: { entryFileNames: "worker.js" } } },
  build: {
    outDir: "../../../src/sterna/server/page/web",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: false,
    assetsInlineLimit: 0,
    rolldownOptions: { output: { entryFileNames: "demo.js", assetFileNames: "[name][extname]" } },
  },
});
