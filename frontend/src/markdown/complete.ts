/** Completes a text that is still being written, as if everything in it were closed. */

/** Marks whose meaning depends on the next character, so they are not shown yet. */
const UNDECIDED = /(^|\n)[ \t]*(?:[-*+_=>]+|#{1,6}|\d{1,9}[.)]|`{1,2}|~{1,2}|\\|\$)[ \t]*$/;
const HALF_LINK = /!?\[([^[\]\n]{0,400})\]\([^()\s]*(?:\s+"[^"\n]*)?$/;
const HALF_MATH = /(?:\$\$[^$]*\$?|\\\[(?:(?!\\\])[^])*|\\\((?:(?!\\\))[^])*)$/;
/** The start of a new line or block, which no emphasis crosses. */
const LINE_START = /\n[ \t]*(?:\n|[-*+>#|]|\d{1,9}[.)] )/g;
const LOOK_BACK = 4_000;

/** Completes the last block of an unfinished text. */
export function complete(source: string): string {
  const decided = source.replace(UNDECIDED, "$1");
  const row = completeTable(decided);
  if (row !== null) return row;
  const start = lastLine(decided);
  return decided.slice(0, start) + completeInline(decided.slice(start));
}

function lastLine(source: string): number {
  const from = Math.max(0, source.length - LOOK_BACK);
  let start = from;
  for (const found of source.slice(from).matchAll(LINE_START)) {
    start = from + found.index + 1;
  }
  return start;
}

/** Completes a table, which is shown as one from its first row, before the line below. */
function completeTable(source: string): string | null {
  const found = /(?:^|\n)( {0,3}\|[^\n]*)(?:\n( {0,3}\|?[-:| \t]*))?$/.exec(source);
  if (!found || found.index + 1 < source.length - LOOK_BACK) return null;
  if (isRowOfTable(source.slice(0, found.index))) return null;
  const header = (found[1] ?? "").trimEnd();
  if (isDelimiterOf(header, found[2] ?? "")) return source;
  const cells = (header.endsWith("|") ? header : `${header}|`).match(/(?<!\\)\|/g) ?? [];
  const before = source.slice(0, found.index) + (found[0].startsWith("\n") ? "\n" : "");
  return `${before}${completeInline(header)}\n|${"-|".repeat(cells.length - 1)}`;
}

function isDelimiterOf(header: string, line: string): boolean {
  if (!/-[ \t:]*\|?[ \t]*$/.test(line) || !header.endsWith("|")) return false;
  return line.match(/-+/g)?.length === (header.match(/(?<!\\)\|/g)?.length ?? 0) - 1;
}

function isRowOfTable(before: string): boolean {
  return /(?:^|\n) {0,3}\|[^\n]*$/.test(before.slice(-LOOK_BACK));
}

/** Closes what is open in a line, and leaves out what has only begun. */
function completeInline(line: string): string {
  const withLink = line.replace(HALF_LINK, "$1");
  const code = openCode(withLink);
  if (code !== null) return withLink.endsWith(code) ? withLink : withLink + code;
  const math = HALF_MATH.exec(withLink);
  if (math && isOpenMath(withLink)) {
    return `${withLink.slice(0, math.index)}${asCode(math[0])}`;
  }
  return closeEmphasis(withLink);
}

/** Returns the backticks that are still open at the end, if any. */
function openCode(line: string): string | null {
  let open: string | null = null;
  for (const [run] of line.matchAll(/`+/g)) {
    if (open === null) open = run;
    else if (open === run) open = null;
  }
  return open;
}

/** Returns whether TeX has begun in a text but has not ended. */
export function isOpenMath(text: string): boolean {
  const dollars = text.match(/\$\$/g)?.length ?? 0;
  if (dollars % 2 === 1) return true;
  return text.lastIndexOf("\\[") > text.lastIndexOf("\\]") || text.lastIndexOf("\\(") > text.lastIndexOf("\\)");
}

function asCode(text: string): string {
  return `\`\` ${text.replaceAll("`", "'").replace(/\s+/g, " ")} \`\``;
}

/** Closes open `**`, `*`, `_` and `~~`, the innermost first. */
function closeEmphasis(line: string): string {
  const open: string[] = [];
  for (const found of line.matchAll(/\\.|`+[^`]*`+|\*\*|~~|\*|(?<!\w)_(?=\S)|(?<=\S)_(?!\w)/g)) {
    const mark = found[0];
    if (mark.startsWith("\\") || mark.startsWith("`")) continue;
    const after = line[found.index + mark.length] ?? "";
    const isInWord = mark === "*" && /\w/.test(line[found.index - 1] ?? "");
    if (open.at(-1) === mark) open.pop();
    else if (after && !/\s/.test(after) && !isInWord) open.push(mark);
  }
  if (open.length === 0) return line.replace(/(?<![*~\\])(?:\*\*|\*|~~)$/, "");
  const text = line.replace(/[*_~]+$/, "").replace(/\s+$/, "");
  return open.length > 8 ? line : text + open.reverse().join("");
}
