/** TeX as elements, by KaTeX; loaded with its fonts when a formula is first shown. */

import katex, { type KatexOptions } from "katex";
import "katex/dist/katex.min.css";

const OPTIONS: KatexOptions = {
  trust: false,
  strict: "ignore",
  throwOnError: true,
  errorColor: "currentColor",
  maxExpand: 200,
  maxSize: 20,
};

/** Set a formula; null if it is no TeX. Styles are set by script, as the page's policy wants. */
export function typeset(tex: string, display: boolean): HTMLElement | null {
  const element = document.createElement("span");
  try {
    katex.render(tex, element, { ...OPTIONS, displayMode: display });
    return element;
  } catch {
    return null;
  }
}
