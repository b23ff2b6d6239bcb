import { defineConfig } from "vite";

// The package: three entries, the run-time libraries within.
export default defineConfig({
  build: {
    target: "es2022",
    lib: { entry: { index: "src/index.ts", core: "src/engine.ts", worker: "src/worker_entry.ts" }, formats: ["es"] },
  },
});
