import { defineConfig } from 'vite';

const DOCUMENTED_URL = 'http://localhost:3000';
const serverUrl = process.env.LLMCHAT_URL;
if (!serverUrl) throw new Error('LLMCHAT_URL names the server under test');

// The documented code is built unchanged, except for the server's address.
const useServerUnderTest = {
  name: 'use-server-under-test',
  enforce: 'pre',
  transform(code, id) {
    if (!id.includes('/guide-react/src/')) return null;
    return { code: code.replaceAll(DOCUMENTED_URL, serverUrl), map: null };
  },
};

export default defineConfig({
  root: import.meta.dirname,
  plugins: [useServerUnderTest],
  esbuild: { jsx: 'automatic' },
  build: { outDir: process.env.LLMCHAT_OUT_DIR, emptyOutDir: true, target: 'es2022' },
});
