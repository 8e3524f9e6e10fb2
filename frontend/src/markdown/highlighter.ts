/** Colors for code, by highlight.js; loaded when code is first shown. */

import hljs from "highlight.js/lib/common";
import dockerfile from "highlight.js/lib/languages/dockerfile";
import powershell from "highlight.js/lib/languages/powershell";

hljs.registerLanguage("dockerfile", dockerfile);
hljs.registerLanguage("powershell", powershell);

export function knows(language: string): boolean {
  return hljs.getLanguage(language) !== undefined;
}

/** Returns code with `<span class="hljs-…">` around its parts, `lines` lines a piece. */
export function highlight(code: string, language: string, lines: number): string[] {
  return inPieces(hljs.highlight(code, { language, ignoreIllegals: true }).value, lines);
}

/** Cuts markup into pieces of `lines` lines; open spans are closed and opened again. */
function inPieces(html: string, lines: number): string[] {
  const pieces: string[] = [];
  const open: string[] = [];
  let piece = "";
  let count = 0;
  for (const [part] of html.matchAll(/<[^>]*>|\n|[^<\n]+/g)) {
    piece += part;
    if (part === "</span>") open.pop();
    else if (part.startsWith("<")) open.push(part);
    if (part !== "\n" || ++count % lines > 0) continue;
    pieces.push(piece + "</span>".repeat(open.length));
    piece = open.join("");
  }
  return piece ? [...pieces, piece] : pieces;
}
