/** The chat that the address names, and what becomes of it when its conversation goes. */
import { act, renderHook } from "@testing-library/react";
import { afterEach, beforeEach, expect, test } from "vitest";

import { goTo } from "../../src/chat/route";
import { useShownChat } from "../../src/chat/useShownChat";
import { connectedClient, pass, reset, restore, socket, stored, storedMessage } from "../llm/fakes";

beforeEach(() => {
  reset();
  goTo("c1");
  stored.set("c1", [storedMessage("q1", "user", "Hi!"), storedMessage("a1", "assistant", "Hello")]);
});
afterEach(() => {
  goTo(null);
  restore();
});

async function shownChat() {
  const { client } = await connectedClient();
  const { result } = renderHook(() => useShownChat(client));
  await act(() => pass());
  return { client, shown: () => result.current };
}

test("behind one that was deleted elsewhere, and whose text is shown, is a new chat", async () => {
  const { client, shown } = await shownChat();
  const { key } = shown();
  client.ask(key, "And?", { provider: "local" });
  act(() => socket().fail("conversation_not_found"));
  expect(shown()).toMatchObject({ key, conversationId: "c1" });
  act(() => shown().startNew());
  expect(location.pathname).toBe("/");
  expect(client.getChat(shown().key)?.messages).toEqual([]);
});

test("the shown chat is a new one once its conversation is deleted here", async () => {
  const { client, shown } = await shownChat();
  const deleted = shown().key;
  expect(client.getChat(deleted)?.messages).toHaveLength(2);
  act(() => client.forget(deleted));
  expect(shown()).toMatchObject({ conversationId: null });
  expect(location.pathname).toBe("/");
  expect(client.ask(shown().key, "Hi!", { provider: "local" })).toBe(true);
});
