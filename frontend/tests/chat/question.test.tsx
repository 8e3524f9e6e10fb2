/** A question as it is shown. */
import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, expect, test } from "vitest";

import { Question } from "../../src/chat/Question";
import type { Turns } from "../../src/chat/turns";
import { newMessage } from "../../src/llm/chat";
import { UiProvider } from "../../src/ui";

afterEach(cleanup);

function show(text: string): HTMLElement {
  const message = newMessage("q", "user", text);
  render(
    <UiProvider>
      <Question message={message} isLast turns={{} as Turns} />
    </UiProvider>,
  );
  const isText = (_: string, element: Element | null) => element?.textContent === text;
  return screen.getByText(isText, { selector: ".bubble-text" });
}

test.each([["characters", "a".repeat(2001)], ["lines", "a\n".repeat(24)]])(
  "of a question of many %s the beginning is shown, until all is wanted",
  (_, text) => {
    const shown = show(text);
    expect(shown.dataset["cut"]).toBeDefined();
    fireEvent.click(screen.getByRole("button", { name: "Show all" }));
    expect(shown.dataset["cut"]).toBeUndefined();
    fireEvent.click(screen.getByRole("button", { name: "Show less" }));
    expect(shown.dataset["cut"]).toBeDefined();
  },
);

test("a short question is shown as it is", () => {
  expect(show("Why?\nTell me.").dataset["cut"]).toBeUndefined();
  expect(screen.queryByRole("button", { name: "Show all" })).toBeNull();
});
