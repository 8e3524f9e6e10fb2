/** A list with more characters than this is cut while it grows. */
const MAX_LIST = 2_000;

/**
 * Cuts a long list in two, the second part beginning with a recent item; or returns null. A
 * list is parsed as a whole, so hundreds of items would be parsed hundreds of times.
 */
export function cutList(raw: string): [string, string] | null {
  if (raw.length < MAX_LIST) return null;
  const marker = /^( {0,3})(?:([-*+])|(\d{1,9})([.)])) /.exec(raw);
  if (!marker) return null;
  const [, indent = "", bullet, number, end] = marker;
  const sign = bullet ? `\\${bullet}` : `(\\d{1,9})\\${end}`;
  const items = [...raw.matchAll(new RegExp(`\\n${indent}${sign} [^\\n]+\\n`, "g"))];
  const item = items.at(-1);
  if (!item || (number && Number(item[1]) <= Number(number))) return null;
  return [raw.slice(0, item.index + 1), raw.slice(item.index + 1)];
}
