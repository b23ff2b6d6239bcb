import { defineConfig } from "vite";

const SERVER = "http://127.0.0.1:8080";

// A file of the build is served at its path in the folder, index.html at "/" (src/sterna/server/page). Names have no
// hashes: the server's ETags tell browsers when a file has changed.
export default defineConfig({
  base: "./",
  // With the Host that the browser sent, so that the server takes the page for its own.
  server: { proxy: Object.fromEntries(["/v1", "/api", "/props"].map((path) => [path, { target: SERVER }])) },
  build: {
    outDir: "../../src/sterna/server/page/built",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: false,
    assetsInlineLimit: 0,
    rolldownOptions: {
      output: { entryFileNames: "page/page.js", assetFileNames: "page/[name][extname]" },
    },
  },
});
