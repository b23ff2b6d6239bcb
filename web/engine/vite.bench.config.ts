import { defineConfig } from "vite";

// The benchmark's page; `sterna serve` beside it gives the embedded model.
export default defineConfig({
  server: { proxy: { "/sterna-tern.gguf": { target: "http://127.0.0.1:8080", rewrite: (path) => `/web${path}` } } },
});
