/** Renders TeX as elements, by KaTeX; loaded with its fonts for the first formula. */

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

/** Renders a formula; null if it is not TeX. Sets styles by script, as the CSP requires. */
export function typeset(tex: string, display: boolean): HTMLElement | null {
  const element = document.createElement("span");
  try {
    katex.render(tex, element, { ...OPTIONS, displayMode: display });
    return element;
  } catch {
    return null;
  }
}
