import { defineConfig } from "vitest/config";

export default defineConfig({
  esbuild: { jsx: "automatic" },
  test: {
    environment: "happy-dom",
    include: ["{src,tests}/**/*.test.{ts,tsx}"],
    setupFiles: "tests/setup.ts",
    // One window for all files, which costs a third of one for each.
    pool: "threads",
    maxWorkers: 1,
    isolate: false,
  },
});
