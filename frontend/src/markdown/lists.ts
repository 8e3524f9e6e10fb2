/** A list of more characters is cut while it grows. */
const MAX_LIST = 2_000;

/**
 * A long list in two parts, the second of which begins with a recent item. A list is
 * read as a whole, so one of hundreds of items would be read hundreds of times.
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
