/** Markdown to tokens, with bounds: a hostile text costs no more than a long one. */

import { Lexer, Marked, Tokenizer, type Links, type Token, type Tokens } from "marked";

import { mathExtensions } from "./math";

/** Quotes and lists deeper than this are text. */
export const MAX_DEPTH = 12;
/** A block of more characters is text, unless it is code. */
export const MAX_BLOCK = 40_000;
/**
 * What a block's emphasis, links and the like may cost: the characters that are looked
 * at. Markdown has texts for which that is quadratic, `*a_*a_…` for one.
 */
const MAX_WORK = 3_000_000;

class TooMuchWork extends Error {}

class BoundedTokenizer extends Tokenizer {
  private depth = 0;
  private work = 0;

  override blockquote(src: string): Tokens.Blockquote | undefined {
    return this.nested(src, /^ {0,3}>/, () => super.blockquote(src));
  }

  override list(src: string): Tokens.List | undefined {
    const marker = /^ {0,3}(?:[*+-]|\d{1,9}[.)])(?:[ \t\n]|$)/;
    return this.nested(src, marker, () => super.list(src));
  }

  /** HTML is text. */
  override html(): undefined {
    return undefined;
  }

  /** HTML is text, except for the line breaks that models like in tables. */
  override tag(src: string): Tokens.Tag | undefined {
    const raw = /^<br ?\/?>/i.exec(src)?.[0];
    if (raw === undefined) return undefined;
    return { type: "br", raw } as unknown as Tokens.Tag;
  }

  /** The first that is tried at each place of a line. */
  override escape(src: string): Tokens.Escape | undefined {
    this.spend(src.length);
    return super.escape(src);
  }

  override emStrong(src: string, masked: string, before?: string) {
    if (/^[*_]/.test(src)) this.spend(masked.length * 4);
    return super.emStrong(src, masked, before);
  }

  private spend(characters: number): void {
    this.work += characters;
    if (this.work > MAX_WORK) throw new TooMuchWork();
  }

  private nested<T>(src: string, marker: RegExp, parse: () => T): T | undefined {
    if (!marker.test(src)) return undefined;
    if (this.depth >= MAX_DEPTH) return plain(src) as T;
    this.depth += 1;
    try {
      return parse();
    } finally {
      this.depth -= 1;
    }
  }
}

const options = new Marked({ gfm: true }, { extensions: mathExtensions }).defaults;

function newLexer(): Lexer {
  return new Lexer({ ...options, tokenizer: new BoundedTokenizer() });
}

/** A token that shows its source. */
export function plain(raw: string): Token {
  return { type: "plain", raw, text: raw };
}

/** The blocks of a text, not looked into, and the link definitions among them. */
export function split(source: string): { raws: string[]; links: Links } {
  const lexer = newLexer();
  try {
    lexer.blockTokens(source, lexer.tokens);
  } catch {
    return { raws: [source], links: {} };
  }
  return { raws: lexer.tokens.map((token) => token.raw), links: lexer.tokens.links };
}

/** What is in a block. */
export function parse(raw: string, links: Links = {}): Token[] {
  if (raw.length > MAX_BLOCK && !/^ {0,3}(```|~~~)/.test(raw)) return [plain(raw)];
  const lexer = newLexer();
  Object.assign(lexer.tokens.links, links);
  try {
    return lexer.lex(raw);
  } catch {
    return [plain(raw)];
  }
}
