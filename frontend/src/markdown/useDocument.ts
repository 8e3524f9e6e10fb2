import { useEffect, useReducer, useRef } from "react";

import { advance, type Document, EMPTY } from "./blocks";

/** Parsing that takes less, in milliseconds, is done in every frame. */
const CHEAP_MS = 4;
/** Parsing may take at most one part in this many of the time. */
const SHARE = 12;
/** The longest pause after parsing, in milliseconds, because a reader waits for the text. */
const LONGEST_REST_MS = 2_000;

interface Reading {
  document: Document;
  /** The time by `performance.now()` before which the text is not parsed again. */
  restUntil: number;
}

/**
 * Returns the blocks of a growing text. If its last block is so long that parsing it again
 * takes long (a list of thousands of items), it is parsed less often.
 */
export function useDocument(text: string, streaming: boolean, reader = advance): Document {
  const reading = useRef<Reading>({ document: EMPTY, restUntil: 0 });
  const [renderings, renderAgain] = useReducer((count: number) => count + 1, 0);
  const now = performance.now();
  const isResting = streaming && now < reading.current.restUntil;
  if (!isResting) {
    const document = reader(reading.current.document, text, streaming);
    reading.current = { document, restUntil: restUntilFrom(now) };
  }
  const { document, restUntil } = reading.current;
  const isBehind = isResting && document.source.length !== text.length;
  useEffect(() => {
    if (!isBehind) return;
    const timer = setTimeout(renderAgain, restUntil - performance.now());
    return () => clearTimeout(timer);
    // A timer may fire a little early: then `renderings` starts another.
  }, [isBehind, restUntil, renderings]);
  return document;
}

/** Returns the time until which to pause after parsing that began at `then`. */
function restUntilFrom(then: number): number {
  const took = performance.now() - then;
  const rest = Math.min(took * SHARE, took + LONGEST_REST_MS);
  return took > CHEAP_MS ? then + rest : 0;
}
