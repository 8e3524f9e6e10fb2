/** When a text that takes long to parse is parsed again. */

import { act, renderHook } from "@testing-library/react";
import { afterEach, expect, test, vi } from "vitest";

import { advance } from "./blocks";
import { useDocument } from "./useDocument";

let clock: number;

const slowly: typeof advance = (...args) => {
  clock += 1_000;
  return advance(...args);
};

/** The hook with a reader that takes a second for each text, on a clock of its own. */
function reading() {
  clock = 0;
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  vi.spyOn(performance, "now").mockImplementation(() => clock);
  return renderHook(({ text }) => useDocument(text, true, slowly), {
    initialProps: { text: "one" },
  });
}

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

test("a text is read again even where the timer is early", () => {
  const { result, rerender } = reading();
  rerender({ text: "one two" });
  expect(result.current.source).toBe("one");

  act(() => void vi.advanceTimersToNextTimer());
  expect(result.current.source).toBe("one");

  clock += 10_000;
  act(() => void vi.advanceTimersToNextTimer());
  expect(result.current.source).toBe("one two");
});

test("a reader waits two seconds at most, besides the reading", () => {
  const { result, rerender } = reading();
  clock += 2_001;
  rerender({ text: "one two" });
  expect(result.current.source).toBe("one two");
});
