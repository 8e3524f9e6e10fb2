import { useEffect, useReducer, useRef } from "react";

import { advance, type Document, EMPTY } from "./blocks";

/** Below this, in milliseconds, reading is done in every frame. */
const CHEAP_MS = 4;
/** Of the time, reading takes at most one part in so many. */
const SHARE = 12;
/** However long reading takes, in milliseconds: a reader waits for what has come. */
const LONGEST_REST_MS = 2_000;

interface Reading {
  document: Document;
  /** Until when, by `performance.now()`, no other reading is due. */
  restUntil: number;
}

/**
 * The blocks of a text that grows. Where its last block is so long that reading it
 * again takes long (a list of thousands of items), it is read less often.
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
    // A timer may be a little early: then there is another.
  }, [isBehind, restUntil, renderings]);
  return document;
}

/** Until when to rest after a reading that began `then`. */
function restUntilFrom(then: number): number {
  const took = performance.now() - then;
  const rest = Math.min(took * SHARE, took + LONGEST_REST_MS);
  return took > CHEAP_MS ? then + rest : 0;
}
