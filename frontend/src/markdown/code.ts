/** How many lines a piece of code has. */
export const LINES = 40;

/** Returns the language of a code block: the first word after its fence, or "". */
export function languageOf(info: string): string {
  const name = /^[^\s{,:]{1,24}/.exec(info)?.[0] ?? "";
  return name.toLowerCase();
}

/** Splits a text into pieces of some lines, which stay the same when the text grows. */
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
