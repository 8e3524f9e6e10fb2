/** A piece of code has so many lines. */
export const LINES = 40;

/** The name before the first blank of what is behind the fence, if it is one. */
export function languageOf(info: string): string {
  const name = /^[^\s{,:]{1,24}/.exec(info)?.[0] ?? "";
  return name.toLowerCase();
}

/** A text in pieces of some lines, which stay as they are when the text grows. */
export function chunksOf(text: string): string[] {
  const chunks: string[] = [];
  let start = 0;
  let lines = 0;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) {
    lines += 1;
    if (lines % LINES > 0) continue;
    chunks.push(text.slice(start, at + 1));
    start = at + 1;
  }
  if (start < text.length) chunks.push(text.slice(start));
  return chunks;
}
