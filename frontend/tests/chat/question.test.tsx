/** A question as it is shown. */
import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, expect, test, vi } from "vitest";

import { Question } from "../../src/chat/Question";
import { type Turns, WhyNotNow, whyNotNow } from "../../src/chat/turns";
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

test("a question cannot be asked again while an answer is written, and that is said", () => {
  const edit = vi.fn(() => true);
  const page = (whyNot: string | null) => (
    <UiProvider>
      <WhyNotNow value={whyNot}>
        <Question
          message={newMessage("q", "user", "Why?")}
          isLast
          turns={{ edit } as unknown as Turns}
        />
      </WhyNotNow>
    </UiProvider>
  );
  const running = { sessionId: "s", messageId: "a", startedAt: 0, problem: null };
  const why = whyNotNow({ ...running, phase: "writing" }, { provider: "local" });
  const { rerender } = render(page(why));
  fireEvent.click(screen.getByRole("button", { name: "Edit question" }));
  const button = screen.getByRole<HTMLButtonElement>("button", { name: "Ask again" });
  expect(button.disabled).toBe(true);
  expect(screen.getByRole("status").textContent).toBe("Wait for the answer, or stop it.");
  fireEvent.submit(button.form!); // as Ctrl+Enter does
  expect(edit).not.toHaveBeenCalled();

  rerender(page(whyNotNow(null, { provider: "local" })));
  expect(button.disabled).toBe(false);
  fireEvent.submit(button.form!);
  expect(edit).toHaveBeenCalledExactlyOnceWith("q", "Why?");
});
