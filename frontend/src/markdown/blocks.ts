/** A growing text, in blocks: finished blocks are never parsed again. */

import type { Links, Token } from "marked";

import { complete, isOpenMath } from "./complete";
import { type Growing, growFurther, growing, openCode, openMath } from "./growing";
import { cutList } from "./lists";
import { type Budget, MAX_BLOCK, newBudget, parse, plain, split } from "./parser";

export interface Block {
  raw: string;
  tokens: Token[];
  /** Whether it continues the list of the previous block. */
  continues: boolean;
}

export interface Document {
  source: string;
  streaming: boolean;
  blocks: Block[];
  /** How many of the blocks are finished, and how many characters they have. */
  finished: number;
  finishedLength: number;
  /** Whether the text after the finished blocks continues their list. */
  continues: boolean;
  links: Links;
  /** The last block, if the rest of it can be parsed without its beginning. */
  growing: Growing | null;
}

/** Everything beyond these limits is shown as plain text. */
export const MAX_TEXT = 400_000;
export const MAX_BLOCKS = 4_000;

export const EMPTY: Document = {
  source: "",
  streaming: true,
  blocks: [],
  finished: 0,
  finishedLength: 0,
  continues: false,
  links: {},
  growing: null,
};

/** Returns the document of a text, made from that of an earlier state of the text. */
export function advance(before: Document, text: string, streaming: boolean): Document {
  const source = text.includes("\r") ? text.replace(/\r\n?/g, "\n") : text;
  if (source === before.source && streaming === before.streaming) return before;
  if (source.length > MAX_TEXT) return truncated(before, source, streaming);
  if (!source.startsWith(before.source)) return read(EMPTY, source, streaming);
  if (!streaming && Object.keys(before.links).length > 0) {
    return read({ ...EMPTY, links: before.links }, source, streaming);
  }
  return (streaming && readOn(before, source)) || read(before, source, streaming);
}

/** Parses a too long text: the first part stays as it is while the plain rest grows. */
function truncated(before: Document, source: string, streaming: boolean): Document {
  const cut = source.lastIndexOf("\n", MAX_TEXT) + 1 || MAX_TEXT;
  const isKnown = before.source.length > MAX_TEXT && source.startsWith(before.source);
  const blocks = isKnown
    ? before.blocks.slice(0, -1)
    : read(EMPTY, source.slice(0, cut), false).blocks;
  const raw = source.slice(cut);
  const rest = { raw, tokens: [plain(raw)], continues: false };
  return { ...EMPTY, source, streaming, blocks: [...blocks, rest] };
}

function readOn(before: Document, source: string): Document | null {
  const last = before.blocks.at(-1);
  if (!before.growing || !last) return null;
  const raw = source.slice(before.source.length - last.raw.length);
  const next = growFurther(before.growing, last.raw, raw);
  if (!next) return null;
  const blocks = [...before.blocks.slice(0, -1), { ...last, raw, tokens: [next.token] }];
  return { ...before, source, blocks, growing: next };
}

function read(before: Document, source: string, streaming: boolean): Document {
  const tail = source.slice(before.finishedLength);
  const found = split(tail);
  const links = { ...before.links, ...found.links };
  const whole = bounded(withoutBlanks(found.raws), MAX_BLOCKS - before.finished);
  const parts = streaming ? cutList(whole.at(-1) ?? "") : null;
  const raws = parts ? [...whole.slice(0, -1), ...parts] : withoutOpenMath(whole, streaming);
  const known = before.blocks.slice(before.finished);
  const budget = newBudget();
  const fresh = raws.map((raw, index) => {
    const isLast = index === raws.length - 1;
    const same = known[index];
    if (same?.raw === raw && !isLast && index < known.length - 1) return same;
    const tokens = streaming && isLast ? unfinished(raw, links, budget) : parse(raw, links, budget);
    return { raw, tokens, continues: index === 0 ? before.continues : parts !== null && isLast };
  });
  const done = streaming ? finishedOf(raws) : 0;
  const blocks = [...before.blocks.slice(0, before.finished), ...fresh];
  return {
    source,
    streaming,
    blocks,
    finished: before.finished + done,
    finishedLength: before.finishedLength + raws.slice(0, done).join("").length,
    continues: blocks[before.finished + done]?.continues ?? false,
    links,
    growing: streaming ? growing(raws.at(-1) ?? "", blocks.at(-1)?.tokens ?? []) : null,
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

/** Returns at most this many blocks; everything after them becomes one block. */
function bounded(raws: string[], most: number): string[] {
  const last = Math.max(1, most) - 1;
  return raws.length <= last + 1 ? raws : [...raws.slice(0, last), raws.slice(last).join("")];
}

/** Joins everything after open TeX to it, even if that looks like a list. */
function withoutOpenMath(raws: string[], streaming: boolean): string[] {
  if (!streaming) return raws;
  const from = raws.findIndex(
    (raw) => /(?:^|\n) {0,3}(?:\$\$|\\\[)/.test(raw) && !isFence(raw) && isOpenMath(raw),
  );
  if (from < 0) return raws;
  const rest = raws.slice(from).join("");
  return /\n[ \t]*\n/.test(rest) || !isOpenMath(rest) ? raws : [...raws.slice(0, from), rest];
}

function isFence(raw: string): boolean {
  return /^ {0,3}(?:`{3,}|~{3,})/.test(raw);
}

/**
 * Returns how many blocks are finished: those after which another one has begun with a
 * complete line. Before that, a paragraph and `#` may become the paragraph `#hash`.
 */
function finishedOf(raws: string[]): number {
  const hasLine = (raws.at(-1) ?? "").trimStart().includes("\n");
  return Math.max(0, raws.length - (hasLine ? 1 : 2));
}

function unfinished(raw: string, links: Links, budget: Budget): Token[] {
  if (raw.length > MAX_BLOCK && !isFence(raw)) return [plain(raw)];
  if (isFence(raw)) return [openCode(raw) ?? parse(raw, links, budget)].flat();
  const tex = raw.search(/^ {0,3}(?:\$\$|\\\[)/m);
  if (tex < 0 || !isOpenMath(raw.slice(tex))) return parse(complete(raw), links, budget);
  return [...parse(raw.slice(0, tex), links, budget), openMath(raw.slice(tex))];
}
