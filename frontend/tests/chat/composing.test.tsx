/** Keys that an input method takes for itself: nothing is sent, closed or lost by them. */
import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import { createRef } from "react";
import { afterEach, expect, test, vi } from "vitest";

import { Composer } from "../../src/chat/Composer";
import { Question } from "../../src/chat/Question";
import { useShortcuts } from "../../src/chat/shortcuts";
import type { Turns } from "../../src/chat/turns";
import { newMessage } from "../../src/llm/chat";
import { RenameBox } from "../../src/sidebar/RenameBox";
import { Dialog, UiProvider } from "../../src/ui";

// As browsers tell it, and as Safari does of the key that ends a composition.
const TAKEN = [{ isComposing: true }, { isComposing: false, keyCode: 229 }];

afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

test.each(TAKEN)("an Enter that confirms a word does not send the half question", (taken) => {
  vi.stubGlobal("CSS", { supports: () => true });
  const onSend = vi.fn();
  const nothing = () => undefined;
  const on = { onSend, onStop: nothing, onChange: nothing, onEditLast: nothing };
  const state = { text: "にほん", answering: false, stopping: false, ready: true };
  render(
    <UiProvider>
      <Composer box={createRef<HTMLTextAreaElement>()} {...state} {...on}>
        {null}
      </Composer>
    </UiProvider>,
  );
  const box = screen.getByLabelText("Your message");
  fireEvent.keyDown(box, { key: "Enter", ...taken });
  expect(onSend).not.toHaveBeenCalled();
  fireEvent.keyDown(box, { key: "Enter" });
  expect(onSend).toHaveBeenCalledOnce();
});

test.each(TAKEN)("keys of a word that is edited into a question change nothing else", (taken) => {
  const edit = vi.fn();
  render(
    <UiProvider>
      <Question
        message={newMessage("q", "user", "old")}
        isLast
        turns={{ edit } as unknown as Turns}
      />
    </UiProvider>,
  );
  fireEvent.click(screen.getByRole("button", { name: "Edit question" }));
  const box = screen.getByLabelText("Edit your question");
  fireEvent.change(box, { target: { value: "新しい" } });
  fireEvent.keyDown(box, { key: "Enter", ctrlKey: true, ...taken });
  expect(edit).not.toHaveBeenCalled();
  fireEvent.keyDown(box, { key: "Escape", ...taken });
  expect(screen.getByLabelText("Edit your question")).toBeDefined();
  fireEvent.keyDown(box, { key: "Escape" });
  expect(screen.queryByLabelText("Edit your question")).toBeNull();
});

test.each(TAKEN)("a title is renamed by no key of a word", (taken) => {
  const onEnd = vi.fn();
  render(<RenameBox title="old" onEnd={onEnd} />);
  const box = screen.getByLabelText("New title");
  for (const key of ["Enter", "Escape"]) fireEvent.keyDown(box, { key, ...taken });
  expect(onEnd).not.toHaveBeenCalled();
  fireEvent.keyDown(box, { key: "Enter" });
  expect(onEnd).toHaveBeenCalledExactlyOnceWith("old");
});

test.each(TAKEN)("an answer is not stopped by the Escape that drops a word", (taken) => {
  const onStop = vi.fn();
  function Page() {
    useShortcuts({ onStop } as unknown as Parameters<typeof useShortcuts>[0]);
    return <input aria-label="Box" />;
  }
  render(<Page />);
  fireEvent.keyDown(screen.getByLabelText("Box"), { key: "Escape", ...taken });
  expect(onStop).not.toHaveBeenCalled();
  fireEvent.keyDown(screen.getByLabelText("Box"), { key: "Escape" });
  expect(onStop).toHaveBeenCalledOnce();
});

test.each(TAKEN)("a dialog is not closed by the Escape that drops a word", (taken) => {
  const onClose = vi.fn();
  render(
    <UiProvider>
      <Dialog open onClose={onClose} title="Settings">
        <textarea aria-label="Box" data-autofocus />
      </Dialog>
    </UiProvider>,
  );
  fireEvent.keyDown(screen.getByLabelText("Box"), { key: "Escape", ...taken });
  expect(onClose).not.toHaveBeenCalled();
  fireEvent.keyDown(screen.getByLabelText("Box"), { key: "Escape" });
  expect(onClose).toHaveBeenCalledOnce();
});
