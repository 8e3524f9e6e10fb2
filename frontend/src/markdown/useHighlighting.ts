import { useEffect, useRef, useState } from "react";

import { LINES } from "./code";
import { onDemand } from "./onDemand";

/** Longer code is not colored; growing code above the second limit waits for its end. */
const MAX_CODE = 60_000;
const MAX_GROWING = 8_000;
/** Coloring growing code may take at most one part in this many of the time. */
const SHARE = 10;

/** The first `length` characters of some code, in colored pieces. */
export interface Coloured {
  source: string;
  language: string;
  length: number;
  chunks: string[];
}

const NOTHING: Coloured = { source: "", language: "", length: 0, chunks: [] };

const useHighlighter = onDemand(() => import("./highlighter"));

/** Colors code; while the code grows, only its complete lines, and not too often. */
export function useHighlighting(text: string, language: string, open: boolean): Coloured {
  const isWanted = language !== "" && text.length <= (open ? MAX_GROWING : MAX_CODE);
  const highlighter = useHighlighter(isWanted);
  const [coloured, setColoured] = useState(NOTHING);
  const restUntil = useRef(0);
  const lines = open ? text.slice(0, text.lastIndexOf("\n") + 1) : text;
  const isDone = coloured.source === lines && coloured.language === language;

  useEffect(() => {
    if (!highlighter || isDone || !isWanted || !highlighter.knows(language)) return;
    const timer = setTimeout(
      () => {
        const started = performance.now();
        const chunks = highlighter.highlight(lines, language, LINES);
        const took = performance.now() - started;
        restUntil.current = started + took * SHARE;
        setColoured({ source: lines, language, length: lines.length, chunks });
      },
      open ? Math.max(0, restUntil.current - performance.now()) : 0,
    );
    return () => clearTimeout(timer);
  }, [highlighter, isDone, isWanted, lines, language, open]);

  const holds = coloured.language === language && text.startsWith(coloured.source);
  return holds ? coloured : NOTHING;
}
