import { defineConfig } from "vitest/config";

// The page in a real browser, against servers that tests/page/test_browser.py starts.
export default defineConfig({
  test: {
    include: ["browser/*.test.ts"],
    maxWorkers: 2,
    testTimeout: 300_000,
    hookTimeout: 300_000,
    expect: { poll: { timeout: 200_000 } },
  },
});
