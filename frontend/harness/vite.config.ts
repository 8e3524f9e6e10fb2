import { fileURLToPath } from "node:url";

import page from "../vite.config";

// A page of Markdown for the tests, built just like the product's own.
const input = { chat: fileURLToPath(new URL("entry.ts", import.meta.url)) };
export default {
  ...page,
  build: { ...page.build, rollupOptions: { ...page.build?.rollupOptions, input } },
};
