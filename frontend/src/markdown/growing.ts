/** Code and tables, which may be long, are parsed on from where they ended before. */

import type { Token, Tokens } from "marked";

import { complete } from "./complete";
import type { MathToken } from "./math";
import { newBudget, parse } from "./parser";

/** A last block that grows, with its current token. */
export type Growing = OpenFence | OpenTable;

interface OpenFence {
  type: "fence";
  lang: string;
  indent: number;
  /** The offset at which its code begins. */
  body: number;
  closing: RegExp;
  token: Token;
}

interface OpenTable {
  type: "table";
  /** The table's first two lines. */
  head: string;
  /** The offset after the finished rows, and the number of those rows. */
  rest: number;
  rows: number;
  token: Tokens.Table;
}

export function growing(raw: string, tokens: Token[]): Growing | null {
  return openFence(raw) ?? openTable(raw, tokens);
}

/** Returns the block with more text, or null if it must be parsed from its beginning. */
export function growFurther(before: Growing, old: string, raw: string): Growing | null {
  return before.type === "fence" ? growCode(before, old, raw) : growTable(before, raw);
}

// --- Code ----------------------------------------------------------------------------

function openFence(raw: string): OpenFence | null {
  const line = raw.slice(0, raw.indexOf("\n") + 1);
  const found = /^( {0,3})(`{3,}|~{3,})(.*)\n$/.exec(line);
  if (!found) return null;
  const [, indent = "", marks = "", info = ""] = found;
  if (marks.startsWith("`") && info.includes("`")) return null;
  const closing = new RegExp(`^ {0,3}[${marks[0]}]{${marks.length},}[ \\t]*$`, "m");
  if (closing.test(raw.slice(line.length))) return null;
  const fence = { lang: info.trim(), indent: indent.length, body: line.length };
  return { type: "fence", ...fence, closing, token: codeOf(raw, fence) };
}

/** Returns the token of code whose end has not arrived; null if it has. */
export function openCode(raw: string): Token | null {
  if (!raw.includes("\n")) return { type: "code", raw, lang: "", text: "" };
  return openFence(raw)?.token ?? null;
}

function growCode(before: OpenFence, old: string, raw: string): OpenFence | null {
  const since = Math.max(old.lastIndexOf("\n") + 1, before.body);
  if (before.closing.test(raw.slice(since))) return null;
  return { ...before, token: codeOf(raw, before) };
}

function codeOf(raw: string, fence: Pick<OpenFence, "lang" | "indent" | "body">): Token {
  const body = raw.slice(fence.body);
  const text = fence.indent > 0 ? withoutIndent(body, fence.indent) : body;
  // A line that may become the closing fence is not code.
  const code = text.replace(/(?:^|\n) {0,3}(?:`+|~+)?$/, "");
  return { type: "code", raw, lang: fence.lang, text: code };
}

function withoutIndent(text: string, indent: number): string {
  return text.replace(new RegExp(`^ {1,${indent}}`, "gm"), "");
}

// --- Tables --------------------------------------------------------------------------

function openTable(raw: string, tokens: Token[]): OpenTable | null {
  const [token] = tokens;
  const head = /^ {0,3}\|[^\n]*\n {0,3}\|[-:| \t]*\n/.exec(raw)?.[0];
  if (token?.type !== "table" || tokens.length > 1 || !head) return null;
  const table = token as Tokens.Table;
  const rest = raw.lastIndexOf("\n") + 1;
  const rows = raw.endsWith("\n") ? table.rows.length : table.rows.length - 1;
  return { type: "table", head, rest, rows, token: table };
}

/** Adds rows: each line that begins with a bar is another one. */
function growTable(before: OpenTable, raw: string): OpenTable | null {
  const fresh = raw.slice(before.rest);
  if (!/^(?: {0,3}\|[^\n]*(?:\n|$))*$/.test(fresh)) return null;
  const [token] = parse(complete(before.head + fresh), {}, newBudget());
  if (token?.type !== "table") return null;
  const added = (token as Tokens.Table).rows;
  const known = before.token.rows.slice(0, before.rows);
  const table = { ...before.token, raw, rows: [...known, ...added] };
  const done = fresh.endsWith("\n") || !fresh ? added.length : added.length - 1;
  const rest = before.rest + fresh.lastIndexOf("\n") + 1;
  return { ...before, rest, rows: known.length + done, token: table };
}

// --- Math ----------------------------------------------------------------------------

/** Returns the token of TeX whose end has not arrived. */
export function openMath(raw: string): MathToken {
  const tex = raw.trim().replace(/^(?:\$\$|\\\[)\s*/, "").replace(/\\$/, "");
  return { type: "math", raw, tex, display: true, open: true };
}
