/** What is said to have been copied, on a page without TLS: it has no clipboard. */
import { act, renderHook } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { useCopy } from "../../src/chat/useCopy";

beforeEach(() => {
  vi.stubGlobal("navigator", { ...navigator, clipboard: undefined });
});

afterEach(() => {
  vi.unstubAllGlobals();
  Reflect.deleteProperty(document, "execCommand");
});

test.each([true, false])("a copy is told of where it has worked: %s", async (works) => {
  let taken = "";
  document.execCommand = () => {
    taken = document.querySelector("textarea")?.value ?? "";
    return works;
  };
  const { result } = renderHook(useCopy);
  await act(async () => result.current[1]("Hello"));
  expect(taken).toBe("Hello");
  expect(result.current[0]).toBe(works);
  expect(document.querySelector("textarea")).toBeNull();
});
