import { memo, type ReactNode } from "react";

import { decodeEntities } from "./entities";

const PARTS = /<span class="([\w\- ]*)">|<\/span>|[^<]+/g;

/** The output of highlight.js as elements: text in spans with classes, nothing else. */
export const HighlightedText = memo(function HighlightedText({ html }: { html: string }) {
  const classes: string[] = [];
  const parts: ReactNode[] = [];
  for (const [part, name] of html.matchAll(PARTS)) {
    if (part === "</span>") classes.pop();
    else if (name !== undefined) classes.push(name);
    else parts.push(coloured(decodeEntities(part), classes.at(-1), parts.length));
  }
  return <span>{parts}</span>;
});

function coloured(text: string, name: string | undefined, key: number): ReactNode {
  if (!name) return text;
  return (
    <span key={key} className={name}>
      {text}
    </span>
  );
}
