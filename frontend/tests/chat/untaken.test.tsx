/** Questions that the server has not taken, over reloads and other tabs. */
import { act, renderHook } from "@testing-library/react";
import { afterEach, beforeEach, expect, test } from "vitest";

import { useDraft } from "../../src/chat/drafts";
import { useUntaken } from "../../src/chat/untaken";
import { LLMClient } from "../../src/llm";
import { useChat } from "../../src/llm/context";
import { openSocket, pass, reset, restore, socket, stored, storedMessage } from "../llm/fakes";

const OPTIONS = { provider: "local" };

beforeEach(reset);
afterEach(restore);

function useBox(client: LLMClient, key: string, owner: string) {
  const chat = useChat(client, key);
  if (chat === undefined) throw new Error("The chat is forgotten.");
  const [draft, setDraft] = useDraft(owner, key, chat.conversationId);
  useUntaken(client, owner, chat, [draft, setDraft]);
  return { draft, setDraft };
}

/** A page that was opened just now, with its text box; without a connection at first. */
async function opened(conversationId: string | null = null, owner = "1") {
  const client = new LLMClient({ openSocket });
  client.open();
  const first = conversationId === null ? client.newChat() : client.openChat(conversationId);
  const hook = renderHook(({ key }) => useBox(client, key, owner), {
    initialProps: { key: first },
  });
  const type = (text: string) => act(() => hook.result.current.setDraft(text));
  await act(() => pass());
  return {
    client,
    key: first,
    text: () => hook.result.current.draft,
    type,
    show: (key: string) => hook.rerender({ key }),
    /** As the composer does. */
    send: (text: string, key = first) => {
      type(text);
      act(() => void client.ask(key, text, OPTIONS));
      type("");
    },
    close: () => hook.unmount(),
  };
}

async function connect(): Promise<void> {
  await act(async () => {
    socket().accept();
    await pass();
  });
}

test("a question that was sent without a connection is there after a reload", async () => {
  const page = await opened();
  page.send("My long question");
  expect(page.text()).toBe("");
  page.close();

  const reloaded = await opened();
  expect(reloaded.text()).toBe("My long question");
});

test("one that the server has taken is not, and what was typed meanwhile is", async () => {
  const page = await opened();
  await connect();
  page.send("One");
  page.type("Two");
  await act(async () => {
    socket().start();
    await pass();
  });
  page.close();
  expect((await opened("c1")).text()).toBe("Two");
  expect((await opened()).text()).toBe("");
});

test("both are there where it was not taken", async () => {
  const page = await opened();
  page.send("One");
  page.type("Two");
  page.close();
  expect((await opened()).text()).toBe("One\n\nTwo");
});

test("one that was refused is there after a reload", async () => {
  const page = await opened();
  await connect();
  page.send("Too dear");
  await act(async () => {
    socket().fail("budget_exceeded");
    await pass();
  });
  expect(page.text()).toBe(""); // the chat shows it
  page.close();
  expect((await opened()).text()).toBe("Too dear");
});

test("one that was edited is there as it was asked last", async () => {
  const page = await opened();
  await connect();
  page.send("Frist");
  await act(async () => {
    socket().fail("rate_limited");
    await pass();
  });
  const question = page.client.getChat(page.key)?.messages[0]?.key ?? "";
  act(() => void page.client.edit(page.key, question, "First", OPTIONS));
  page.close();
  expect((await opened()).text()).toBe("First");
});

test("one that waits in another chat of the page is shown there alone", async () => {
  const page = await opened();
  page.send("One");
  const other = page.client.newChat();
  page.show(other);
  expect(page.text()).toBe("");
  page.send("Two", other);
  page.show(page.key);
  expect(page.text()).toBe("");

  await connect();
  const [one] = socket().asked;
  await act(async () => {
    socket().start(one?.["sessionId"] as string);
    await pass();
  });
  page.close();
  expect((await opened()).text()).toBe("Two");
});

test("one that was taken while the page went is not asked for again", async () => {
  stored.set("c1", [storedMessage("q1", "user", "Hi!"), storedMessage("a1", "assistant", "Hello")]);
  const page = await opened("c1");
  page.send("And?");
  page.close();
  const taken = [storedMessage("q2", "user", "And?"), storedMessage("a2", "assistant", "So")];
  stored.set("c1", [...(stored.get("c1") ?? []), ...taken]);
  expect((await opened("c1")).text()).toBe("");
});

test("one with the words of the question before it is there after a reload", async () => {
  stored.set("c1", [storedMessage("q1", "user", "Go on"), storedMessage("a1", "assistant", "So")]);
  const page = await opened("c1");
  page.send("Go on");
  page.close();
  expect((await opened("c1")).text()).toBe("Go on");
});

test("another user does not find it", async () => {
  const page = await opened();
  page.send("My illness");
  page.close();
  expect((await opened(null, "11")).text()).toBe("");
  expect((await opened()).text()).toBe("My illness");
});

test("a tab that has taken it for a draft loses it once the server has it", async () => {
  const page = await opened();
  page.send("One");
  const waiting = socket();
  const other = await opened();
  expect(other.text()).toBe("One");

  const key = "llmchat-draft:1:new";
  const oldValue = localStorage.getItem(key);
  await act(async () => {
    waiting.accept();
    await pass();
    waiting.start();
    await pass();
  });
  expect(localStorage.getItem(key)).toBeNull();
  // As the browser tells the other tab.
  act(() => {
    window.dispatchEvent(new StorageEvent("storage", { key, oldValue, newValue: null }));
  });
  expect(other.text()).toBe("");
});

/** As the browser tells a tab what another one does with the storage. */
function hear(key: string, oldValue: string | null, newValue: string | null): void {
  act(() => {
    window.dispatchEvent(new StorageEvent("storage", { key, oldValue, newValue }));
  });
}

function keptKey(): string {
  const prefix = "llmchat-draft:1:new:";
  return Object.keys(localStorage).find((name) => name.startsWith(prefix)) ?? "";
}

test.each(["", "Two"])("one whose tab waits is left to it, behind the draft “%s”", async (draft) => {
  const page = await opened();
  page.send("One");
  page.type(draft);
  const key = keptKey();
  const other = await opened();
  expect(other.text()).toContain("One");

  hear(key, "One", null);
  expect(localStorage.getItem(key)).toBe("One");
  hear(key, null, "One");
  expect(other.text()).toBe(draft);
  page.close();
  other.close();
  expect((await opened()).text()).toContain("One");
});

test("whoever logs out in another tab leaves none in this one", async () => {
  const page = await opened();
  page.send("One");
  const key = keptKey();
  localStorage.clear();
  hear(key, "One", null);
  expect(localStorage.length).toBe(0);
});
