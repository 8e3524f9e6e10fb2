/** A page with nothing but Markdown, for tests in a browser. */

import { StrictMode } from "react";
import { flushSync } from "react-dom";
import { createRoot } from "react-dom/client";

import { Markdown } from "../src/markdown";
import { HOSTILE } from "../src/markdown/hostile";
import "./page.css";

interface Frames {
  /** Milliseconds between frames, and what the page itself needed of each. */
  deltas: number[];
  costs: number[];
  longTasks: number[];
}

declare global {
  interface Window {
    show: (text: string, streaming?: boolean) => number;
    stream: (text: string, from: number, charactersPerSecond: number) => Promise<Frames>;
    hostile: string[];
  }
}

const place = document.getElementById("place") as HTMLElement;
const root = createRoot(place);

/** Show a text; the milliseconds until it is laid out. */
window.show = (text, streaming = false) => {
  const start = performance.now();
  flushSync(() =>
    root.render(
      <StrictMode>
        <Markdown text={text} streaming={streaming} />
      </StrictMode>,
    ),
  );
  void place.offsetHeight;
  return performance.now() - start;
};

function nextFrame(): Promise<number> {
  return new Promise((resolve) => requestAnimationFrame(resolve));
}

window.hostile = HOSTILE;

/** Show a text as it comes from a model: in each frame what has come since the last. */
window.stream = async (text, from, charactersPerSecond) => {
  const frames: Frames = { deltas: [], costs: [], longTasks: [] };
  const observer = new PerformanceObserver((list) => {
    frames.longTasks.push(...list.getEntries().map((entry) => entry.duration));
  });
  observer.observe({ type: "longtask" });
  window.show(text.slice(0, from), true);
  const start = await nextFrame();
  for (let last = start, shown = from; shown < text.length; ) {
    const now = await nextFrame();
    frames.deltas.push(now - last);
    last = now;
    shown = from + Math.ceil(((now - start) / 1000) * charactersPerSecond);
    frames.costs.push(window.show(text.slice(0, shown), true));
    window.scrollTo(0, document.documentElement.scrollHeight);
  }
  window.show(text);
  observer.disconnect();
  return frames;
};
