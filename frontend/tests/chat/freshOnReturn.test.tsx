/** Two tabs with the same conversation. */
import { act, cleanup, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, test } from "vitest";

import { useFreshOnReturn } from "../../src/chat/pageState";
import type { LLMClient } from "../../src/llm";
import { useChat } from "../../src/llm/context";
import { connectedClient, pass, reset, restore, socket, stored, storedMessage } from "../llm/fakes";

beforeEach(reset);
afterEach(() => {
  cleanup();
  restore();
});

function Shown({ client, chat }: { client: LLMClient; chat: string }) {
  useFreshOnReturn(client, chat);
  return useChat(client, chat)?.messages.map(({ content }) => content).join(" / ");
}

test("what another tab has asked is shown to whoever comes back", async () => {
  const { client } = await connectedClient();
  const first = [storedMessage("q1", "user", "Hi!"), storedMessage("a1", "assistant", "Hello")];
  stored.set("c1", first);
  const key = client.openChat("c1");
  render(<Shown client={client} chat={key} />);
  await act(() => pass());
  screen.getByText("Hi! / Hello");
  const before = client.getChat(key)?.messages;

  stored.set("c1", [...first, storedMessage("q2", "user", "And?")]);
  window.dispatchEvent(new Event("focus"));
  await act(() => pass());
  screen.getByText("Hi! / Hello / And?");
  expect(client.getChat(key)?.messages[1]).toBe(before?.[1]); // it is not drawn anew

  stored.delete("c1"); // the other tab deletes it
  window.dispatchEvent(new Event("focus"));
  await act(() => pass());
  screen.getByText("Hi! / Hello / And?");
  act(() => void client.ask(key, "So?", { provider: "local" }));
  expect(socket().asked[0]).not.toHaveProperty("conversationId");
  expect(socket().asked[0]?.["messages"]).toHaveLength(4);
});
