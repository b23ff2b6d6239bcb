import { defineConfig } from "vitest/config";

// The demo in a real browser, against a server that tests/web/test_browser.py starts.
export default defineConfig({ test: { include: ["browser/*.test.ts"], testTimeout: 300_000, hookTimeout: 300_000 } });
