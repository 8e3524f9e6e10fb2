/** Parses Markdown to tokens, with limits: a hostile text costs no more than a long one. */

import { Lexer, Marked, Tokenizer, type Links, type Token, type Tokens } from "marked";

import { mathExtensions } from "./math";

/** Quotes and lists that are nested deeper are shown as text. */
export const MAX_DEPTH = 12;
/** A block with more characters is shown as text, unless it is code. */
export const MAX_BLOCK = 40_000;
/**
 * How much work emphasis, links and the like may cost in a block, and in a whole text: the
 * number of characters looked at, about ten nanoseconds each. For some texts, such as
 * `*a_*a_…`, that number is quadratic.
 */
const MAX_WORK_OF_BLOCK = 8_000_000;
const MAX_WORK = 40_000_000;
const WORK_OF_BLOCK = 1_000;

/** The work that may still be spent on a text. */
export interface Budget {
  left: number;
}

export function newBudget(): Budget {
  return { left: MAX_WORK };
}

class TooMuchWork extends Error {}

class BoundedTokenizer extends Tokenizer {
  private depth = 0;
  private left: number;

  constructor(private readonly budget: Budget, most: number) {
    super();
    this.left = most;
  }

  override blockquote(src: string): Tokens.Blockquote | undefined {
    return this.nested(src, /^ {0,3}>/, () => super.blockquote(src));
  }

  override list(src: string): Tokens.List | undefined {
    const marker = /^ {0,3}(?:[*+-]|\d{1,9}[.)])(?:[ \t\n]|$)/;
    return this.nested(src, marker, () => super.list(src));
  }

  /** Treats HTML as text. */
  override html(): undefined {
    return undefined;
  }

  /** Treats HTML as text, except for `<br>`, which models like to use in tables. */
  override tag(src: string): Tokens.Tag | undefined {
    const raw = /^<br ?\/?>/i.exec(src)?.[0];
    if (raw === undefined) return undefined;
    return { type: "br", raw } as unknown as Tokens.Tag;
  }

  /** Counts the work of a block: this method is the first that is tried for each. */
  override space(src: string): Tokens.Space | undefined {
    this.spend(WORK_OF_BLOCK);
    return super.space(src);
  }

  /** Counts the work in a line: this method is the first that is tried at each position. */
  override escape(src: string): Tokens.Escape | undefined {
    this.spend(src.length);
    return super.escape(src);
  }

  override emStrong(src: string, masked: string, before?: string) {
    if (/^[*_]/.test(src)) this.spend(masked.length * 4);
    return super.emStrong(src, masked, before);
  }

  private spend(characters: number): void {
    this.left -= characters;
    this.budget.left -= characters;
    if (this.left < 0 || this.budget.left < 0) throw new TooMuchWork();
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

function newLexer(budget: Budget, most: number): Lexer {
  return new Lexer({ ...options, tokenizer: new BoundedTokenizer(budget, most) });
}

/** Returns a token that shows its source as text. */
export function plain(raw: string): Token {
  return { type: "plain", raw, text: raw };
}

/** Returns the blocks of a text, without parsing their contents, and its link definitions. */
export function split(source: string): { raws: string[]; links: Links } {
  const lexer = newLexer(newBudget(), MAX_WORK);
  let isWhole = true;
  try {
    lexer.blockTokens(source, lexer.tokens);
  } catch {
    isWhole = false;
  }
  const raws = asWritten(source, lexer.tokens);
  if (!isWhole) raws.push(source.slice(raws.join("").length));
  return { raws, links: lexer.tokens.links };
}

/** Returns the sources of blocks. In lists, the lexer drops blanks at the ends of lines. */
function asWritten(source: string, tokens: Token[]): string[] {
  let start = 0;
  return tokens.map(({ raw }) => {
    const isSame = source.startsWith(raw, start);
    const end = isSame ? start + raw.length : endOf(source, start, raw.match(/\S/g)?.length ?? 0);
    const written = source.slice(start, end);
    start = end;
    return written;
  });
}

/** Returns the offset after `count` characters that are not blank, and after blank lines. */
function endOf(source: string, start: number, count: number): number {
  let end = start;
  for (let left = count; left > 0 && end < source.length; end += 1) {
    if (/\S/.test(source[end] ?? "")) left -= 1;
  }
  const blanks = /^\s*/.exec(source.slice(end))?.[0] ?? "";
  if (end + blanks.length === source.length) return source.length;
  return end + blanks.lastIndexOf("\n") + 1;
}

/** Returns the tokens of a block. */
export function parse(raw: string, links: Links, budget: Budget): Token[] {
  if (raw.length > MAX_BLOCK && !/^ {0,3}(```|~~~)/.test(raw)) return [plain(raw)];
  const lexer = newLexer(budget, MAX_WORK_OF_BLOCK);
  Object.assign(lexer.tokens.links, links);
  try {
    return lexer.lex(raw);
  } catch {
    return [plain(raw)];
  }
}
