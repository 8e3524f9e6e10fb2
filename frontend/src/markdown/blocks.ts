/** A text that grows, in blocks: those which are finished are never looked at again. */

import type { Links, Token } from "marked";

import { complete, isOpenMath } from "./complete";
import { parse, plain, split } from "./parser";

export interface Block {
  raw: string;
  tokens: Token[];
}

export interface Document {
  source: string;
  streaming: boolean;
  blocks: Block[];
  /** How many of the blocks are finished, and how many characters these have. */
  finished: number;
  finishedLength: number;
  links: Links;
  fence: OpenFence | null;
}

/** Code that has not ended: where its first line ends, and what would close it. */
interface OpenFence {
  lang: string;
  indent: number;
  bodyStart: number;
  closing: RegExp;
}

/** What is beyond is shown as text. */
export const MAX_TEXT = 400_000;

export const EMPTY: Document = {
  source: "",
  streaming: true,
  blocks: [],
  finished: 0,
  finishedLength: 0,
  links: {},
  fence: null,
};

/** The document of a text, made from that of an earlier state of the text. */
export function advance(before: Document, text: string, streaming: boolean): Document {
  const source = text.includes("\r") ? text.replace(/\r\n?/g, "\n") : text;
  if (source === before.source && streaming === before.streaming) return before;
  if (source.length > MAX_TEXT) return truncated(source, streaming);
  if (!source.startsWith(before.source)) return read(EMPTY, source, streaming);
  if (!streaming && Object.keys(before.links).length > 0) {
    return read({ ...EMPTY, links: before.links }, source, streaming);
  }
  return continueFence(before, source, streaming) ?? read(before, source, streaming);
}

function truncated(source: string, streaming: boolean): Document {
  const cut = source.lastIndexOf("\n", MAX_TEXT) + 1 || MAX_TEXT;
  const document = read(EMPTY, source.slice(0, cut), false);
  const raw = source.slice(cut);
  const rest = { raw, tokens: [plain(raw)] };
  return { ...document, source, streaming, blocks: [...document.blocks, rest] };
}

function read(before: Document, source: string, streaming: boolean): Document {
  const tail = source.slice(before.finishedLength);
  const found = split(tail);
  const whole = withoutBlanks(found.raws);
  const raws = streaming ? withoutOpenMath(whole) : whole;
  const links = { ...before.links, ...found.links };
  const old = before.blocks.slice(before.finished);
  const fresh = raws.map((raw, index) => {
    if (streaming && index === raws.length - 1) return unfinished(raw, links);
    const known = old[index];
    return known?.raw === raw ? known : { raw, tokens: parse(raw, links) };
  });
  const done = streaming ? finishedBlocks(raws, tail) : 0;
  const doneLength = raws.slice(0, done).reduce((sum, raw) => sum + raw.length, 0);
  const last = raws.at(-1) ?? "";
  return {
    source,
    streaming,
    blocks: [...before.blocks.slice(0, before.finished), ...fresh],
    finished: before.finished + done,
    finishedLength: before.finishedLength + doneLength,
    links,
    fence: streaming ? openFence(last, source.length - last.length) : null,
  };
}

/** Blank lines belong to the block before them. */
function withoutBlanks(raws: string[]): string[] {
  const blocks: string[] = [];
  for (const raw of raws) {
    if (raw.trim() || blocks.length === 0) blocks.push(raw);
    else blocks.push((blocks.pop() ?? "") + raw);
  }
  return blocks;
}

/** What follows open TeX is TeX, even if it looks like a list. */
function withoutOpenMath(raws: string[]): string[] {
  const from = raws.findIndex((raw) => /(?:^|\n) {0,3}(?:\$\$|\\\[)/.test(raw) && isOpenMath(raw));
  if (from < 0 || /^ {0,3}(?:```|~~~)/.test(raws[from] ?? "")) return raws;
  const rest = raws.slice(from).join("");
  return /\n[ \t]*\n/.test(rest) || !isOpenMath(rest) ? raws : [...raws.slice(0, from), rest];
}

/**
 * A block is finished when the next one has begun with a whole line. Before that, a
 * paragraph and `#` may become the paragraph `#hash`.
 */
function finishedBlocks(raws: string[], tail: string): number {
  const last = raws.at(-1);
  if (last === undefined || raws.length < 2) return 0;
  return /\S[^\n]*\n/.test(tail.slice(-last.length)) ? raws.length - 1 : Math.max(0, raws.length - 2);
}

function unfinished(raw: string, links: Links): Block {
  const fence = openFence(raw, 0);
  if (fence) return openCode(raw, fence);
  if (/^ {0,3}(?:`{3,}|~{3,})/.test(raw)) {
    const closed = raw.includes("\n");
    return { raw, tokens: closed ? parse(raw, links) : [codeToken(raw, "", "")] };
  }
  if (/^ {0,3}(?:\$\$|\\\[)/.test(raw) && isOpenMath(raw)) return openMath(raw);
  return { raw, tokens: parse(complete(raw), links) };
}

// --- Code, of which there may be much ----------------------------------------------

function openFence(raw: string, start: number): OpenFence | null {
  const found = /^( {0,3})(`{3,}|~{3,})([^\n]*)\n/.exec(raw);
  if (!found) return null;
  const [line, indent = "", marks = "", lang = ""] = found;
  if (marks.startsWith("`") && lang.includes("`")) return null;
  const closing = new RegExp(`^ {0,3}[${marks[0]}]{${marks.length},}[ \\t]*$`, "m");
  const body = line.length - 1;
  if (closing.test(raw.slice(body))) return null;
  return { lang: lang.trim(), indent: indent.length, bodyStart: start + body + 1, closing };
}

/** What has come since is more of the same code; nothing else has to be looked at. */
function continueFence(before: Document, source: string, streaming: boolean): Document | null {
  const { fence } = before;
  if (!fence || !streaming) return null;
  const since = Math.max(before.source.lastIndexOf("\n") + 1, fence.bodyStart);
  if (fence.closing.test(source.slice(since))) return null;
  const last = before.blocks.at(-1);
  if (!last) return null;
  const start = before.source.length - last.raw.length;
  const raw = source.slice(start);
  const local = { ...fence, bodyStart: fence.bodyStart - start };
  const blocks = [...before.blocks.slice(0, -1), openCode(raw, local)];
  return { ...before, source, blocks };
}

function openCode(raw: string, fence: OpenFence): Block {
  const body = raw.slice(fence.bodyStart);
  const indented = new RegExp(`^ {1,${fence.indent}}`, "gm");
  const text = fence.indent > 0 ? body.replace(indented, "") : body;
  return { raw, tokens: [codeToken(raw, fence.lang, text.replace(/(?:^|\n) {0,3}(?:`+|~+)?$/, ""))] };
}

function openMath(raw: string): Block {
  const tex = raw.trim().replace(/^(?:\$\$|\\\[)\s*/, "").replace(/\\$/, "");
  return { raw, tokens: [{ type: "math", raw, tex, display: true, open: true }] };
}

function codeToken(raw: string, lang: string, text: string): Token {
  return { type: "code", raw, lang, text };
}
