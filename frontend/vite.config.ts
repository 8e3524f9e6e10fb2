import { defineConfig } from "vite";

// Django's template names the files, so they have fixed names here; the static
// files storage adds the hashes for production.
export default defineConfig({
  publicDir: false,
  esbuild: { jsx: "automatic" },
  build: {
    outDir: "../llmchat/static/llmchat/build",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: false,
    rollupOptions: {
      input: "src/main.tsx",
      output: {
        entryFileNames: "chat.js",
        assetFileNames: "chat[extname]",
        inlineDynamicImports: true,
      },
    },
  },
});
