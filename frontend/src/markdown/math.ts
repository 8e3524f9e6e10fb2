/** Finds TeX in a text: `$$…$$`, `\[…\]`, `\(…\)`, and `$…$` if it must be math. */

import type { TokenizerAndRendererExtension, Tokens } from "marked";

/** Longer TeX is shown as text. */
const MAX_TEX = 4_000;

export interface MathToken extends Tokens.Generic {
  type: "math";
  tex: string;
  display: boolean;
  /** More of it is still to come. */
  open?: boolean;
}

const BLOCK = new RegExp(
  String.raw`^ {0,3}(?:\$\$([^$]{1,${MAX_TEX}}?)\$\$|\\\[([^]{1,${MAX_TEX}}?)\\\])[ \t]*(?:\n+|$)`,
);
const INLINE = [
  { display: true, pattern: new RegExp(String.raw`^\$\$([^$]{1,${MAX_TEX}}?)\$\$`) },
  { display: true, pattern: new RegExp(String.raw`^\\\[([^]{1,${MAX_TEX}}?)\\\]`) },
  { display: false, pattern: new RegExp(String.raw`^\\\(([^]{1,${MAX_TEX}}?)\\\)`) },
];
const SINGLE = /^\$(?![\s$])([^$\n]{1,400}?)(?<![\s\\])\$(?![\w$])/;

export const mathExtensions: TokenizerAndRendererExtension[] = [
  { name: "math", level: "block", start: startOfBlock, tokenizer: block },
  { name: "math", level: "inline", start: startOfInline, tokenizer: inline },
];

/** Called for each paragraph, so it looks no further than the end of the paragraph. */
function startOfBlock(src: string): number | undefined {
  const near = src.slice(0, MAX_TEX);
  const end = near.indexOf("\n\n");
  const paragraph = end < 0 ? near : near.slice(0, end);
  if (!paragraph.includes("$$") && !paragraph.includes("\\]")) return undefined;
  const found = paragraph.search(/\n {0,3}(?:\$\$\s*[^\s$][^$]*\$\$|\\\[(?:(?!\\\]|\\\[)[^])+\\\])/);
  return found < 0 ? undefined : found + 1;
}

function startOfInline(src: string): number | undefined {
  const found = /\\[([]|(?<![\w\\$])\$/.exec(src);
  return found?.index;
}

function block(src: string): MathToken | undefined {
  const found = BLOCK.exec(src);
  if (!found) return undefined;
  return token(found[0], found[1] ?? found[2] ?? "", true);
}

function inline(src: string): MathToken | undefined {
  for (const { display, pattern } of INLINE) {
    const found = pattern.exec(src);
    if (found) return token(found[0], found[1] ?? "", display);
  }
  const single = SINGLE.exec(src);
  if (!single || !isMath(single[1] ?? "")) return undefined;
  return token(single[0], single[1] ?? "", false);
}

function token(raw: string, tex: string, display: boolean): MathToken | undefined {
  if (!tex.trim() || /\n[ \t]*\n/.test(tex)) return undefined;
  return { type: "math", raw, tex: tex.trim(), display };
}

/** Returns whether text between two dollar signs cannot be a price or a shell variable. */
function isMath(text: string): boolean {
  if (/\\[a-zA-Z]|[\^_]|[=<>+]/.test(text)) return !/^\d[\d.,]*\s+[a-z]{2}/i.test(text);
  return text.length <= 40 && /^[a-zA-Z]/.test(text) && !/[a-zA-Z]{2}/.test(text);
}
