import { defineConfig, loadEnv, type Plugin } from "vite";

// What the dev server leaves to `make run`, which listens on the PORT of .env.
const SERVED = ["/llm", "/v1", "/auth", "/admin", "/static", "/docs", "/schema"];
const { PORT = "3000" } = loadEnv("", "..", "PORT");
const SERVER = `http://localhost:${PORT}`;

// Django's template names `chat.js` and `chat.css`, so they have fixed names here; its
// storage adds the hashes for production. Everything else is loaded by modules and has
// its hash from here: `chat.js` is but one line, so that no module imports it, under
// one name or the other, and there is never a second copy of the page.
//
// All addresses are relative to the module or stylesheet, so it does not matter where
// the static files are.
export default defineConfig({
  publicDir: false,
  base: "./",
  server: {
    proxy: {
      ...Object.fromEntries(SERVED.map((path) => [`^${path}(/|$)`, SERVER])),
      "/socket.io": { target: SERVER, ws: true },
    },
  },
  esbuild: { jsx: "automatic" },
  plugins: [onlyWoff2(), noSecondStylesheet()],
  build: {
    outDir: "../llmchat/static/llmchat/build",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: false,
    rollupOptions: {
      onwarn(warning, warn) {
        // "use client" is meant for servers that render React.
        if (warning.code !== "MODULE_LEVEL_DIRECTIVE") warn(warning);
      },
      input: { chat: "src/entry.ts" },
      output: {
        entryFileNames: "[name].js",
        chunkFileNames: "[name]-[hash].js",
        assetFileNames: ({ names }) =>
          names.includes("page.css") ? "chat.css" : "[name]-[hash][extname]",
        manualChunks: (id) => (id.endsWith("/main.tsx") ? "page" : undefined),
      },
    },
  },
});

/** KaTeX has its fonts in three formats; every browser that runs the page reads woff2. */
function onlyWoff2(): Plugin {
  return {
    name: "only-woff2",
    enforce: "pre",
    transform(code, id) {
      if (!/katex[^/]*\.css/.test(id)) return null;
      return code.replace(/,url\([^)]*\.(?:woff|ttf)\) format\("[^"]*"\)/g, "");
    },
  };
}

/** What is loaded later asks for the stylesheets of all it imports; the page has its own. */
function noSecondStylesheet(): Plugin {
  return {
    name: "no-second-stylesheet",
    enforce: "pre",
    generateBundle: {
      order: "pre",
      handler(_, bundle) {
        for (const chunk of Object.values(bundle)) {
          if (chunk.type === "chunk") chunk.viteMetadata?.importedCss.delete("chat.css");
        }
      },
    },
  };
}
