import { defineConfig } from "vitest/config";

// The page in a real browser, against servers that tests/page/test_browser.py starts.
export default defineConfig({
  test: {
    include: ["browser/*.test.ts"],
    // One process, one file after the other: a browser takes the cores that there are.
    fileParallelism: false,
    isolate: false,
    testTimeout: 90_000,
    hookTimeout: 90_000,
    expect: { poll: { timeout: 30_000 } },
  },
});
