import { defineConfig } from "vitest/config";

export default defineConfig({
  esbuild: { jsx: "automatic" },
  test: {
    environment: "happy-dom",
    include: ["{src,tests}/**/*.test.{ts,tsx}"],
    // One process and one window for all files: each leaves nothing behind.
    pool: "threads",
    maxWorkers: 1,
    isolate: false,
  },
});
