/**
 * Shows the newest messages of a long conversation immediately, and adds the earlier ones
 * bit by bit while the browser is idle. All of them end up in the page, so that
 * find-in-page and screen readers reach them; `content-visibility` in the style sheet keeps
 * those out of sight from being laid out.
 */
import { useEffect, useState } from "react";

const FIRST = 40;
const STEP = 20;

/** Returns how many of the earliest of `total` messages to leave out. */
export function useEarlier(total: number): number {
  const [count, setCount] = useState(FIRST);
  const left = Math.max(0, total - count);

  useEffect(() => {
    if (left === 0) return;
    return whenIdle(() => setCount(count + STEP));
  }, [count, left]);

  return left;
}

function whenIdle(work: () => void): () => void {
  if ("requestIdleCallback" in window) {
    const handle = window.requestIdleCallback(work, { timeout: 1000 });
    return () => window.cancelIdleCallback(handle);
  }
  const timer = setTimeout(work, 100);
  return () => clearTimeout(timer);
}
