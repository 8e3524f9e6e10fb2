/** When a text is read again that takes long to read. */

import { act, renderHook } from "@testing-library/react";
import { afterEach, expect, test, vi } from "vitest";

import { useDocument } from "./useDocument";

const clock = vi.hoisted(() => ({ ms: 0 }));

vi.mock("./blocks", async (original) => {
  const blocks = await original<typeof import("./blocks")>();
  const slow: typeof blocks.advance = (...args) => {
    clock.ms += 1_000;
    return blocks.advance(...args);
  };
  return { ...blocks, advance: slow };
});

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

test("a text is read again even where the timer is early", () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  vi.spyOn(performance, "now").mockImplementation(() => clock.ms);
  const { result, rerender } = renderHook(({ text }) => useDocument(text, true), {
    initialProps: { text: "one" },
  });
  rerender({ text: "one two" });
  expect(result.current.source).toBe("one");

  act(() => void vi.advanceTimersToNextTimer());
  expect(result.current.source).toBe("one");

  clock.ms += 10_000;
  act(() => void vi.advanceTimersToNextTimer());
  expect(result.current.source).toBe("one two");
});

test("a reader waits two seconds at most, besides the reading", () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  vi.spyOn(performance, "now").mockImplementation(() => clock.ms);
  const { result, rerender } = renderHook(({ text }) => useDocument(text, true), {
    initialProps: { text: "one" },
  });
  clock.ms += 2_001;
  rerender({ text: "one two" });
  expect(result.current.source).toBe("one two");
});
