/** What is typed and not sent. */
import { act, renderHook } from "@testing-library/react";
import { expect, test } from "vitest";

import { useDraft } from "../../src/chat/drafts";

interface Shown {
  chat: string;
  id: string | null;
}

/** The text box of user 1, at first that of a new chat. */
function box(shown: Shown = { chat: "chat-1", id: null }) {
  const hook = renderHook(({ chat, id }: Shown) => useDraft("1", chat, id), {
    initialProps: shown,
  });
  return {
    show: (other: Shown) => hook.rerender(other),
    text: () => hook.result.current[0],
    type: (text: string) => act(() => hook.result.current[1](text)),
  };
}

/** What another tab does to the storage. */
function elsewhere(key: string, newValue: string | null): void {
  const oldValue = localStorage.getItem(key);
  if (newValue === null) localStorage.removeItem(key);
  else localStorage.setItem(key, newValue);
  act(() => {
    window.dispatchEvent(new StorageEvent("storage", { key, oldValue, newValue }));
  });
}

test("what is typed before the server has named a new chat stays", () => {
  const composer = box();
  composer.type("Hi!");
  composer.type(""); // it is sent
  composer.type("And");
  composer.show({ chat: "chat-1", id: "c1" });
  expect(composer.text()).toBe("And");
  composer.type("And?");

  composer.show({ chat: "chat-2", id: null });
  expect(composer.text()).toBe("");
  composer.show({ chat: "chat-1", id: "c1" });
  expect(composer.text()).toBe("And?");
});

test("each conversation has its own", () => {
  const composer = box({ chat: "chat-1", id: "c1" });
  composer.type("Apples");
  composer.show({ chat: "chat-2", id: "c2" });
  expect(composer.text()).toBe("");
  composer.type("Pears");
  composer.show({ chat: "chat-1", id: "c1" });
  expect(composer.text()).toBe("Apples");
});

test("what another tab has sent goes here as well, and nothing else does", () => {
  const [one, other] = [box(), box()];
  const key = "llmchat-draft:1:new";
  one.type("Hi!");
  elsewhere(key, null);
  expect(one.text()).toBe("");

  one.type("Mine");
  elsewhere(key, "Theirs");
  elsewhere(key, null);
  expect(one.text()).toBe("Mine");

  one.type("Mine");
  other.type("Theirs");
  one.type(""); // it is sent
  expect(localStorage.getItem(key)).toBe("Theirs");
});
