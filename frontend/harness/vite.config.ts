import { fileURLToPath } from "node:url";

import { mergeConfig } from "vite";

import page from "../vite.config";

// The page of the tests: built like the product's own, but into a folder of the test.
const { input: _, ...rollupOptions } = page.build?.rollupOptions ?? {};
export default mergeConfig(
  { ...page, build: { ...page.build, rollupOptions } },
  {
    root: fileURLToPath(new URL(".", import.meta.url)),
    build: { rollupOptions: { input: fileURLToPath(new URL("index.html", import.meta.url)) } },
  },
);
