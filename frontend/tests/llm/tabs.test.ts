/** What is asked in one tab of a browser is shown in the others. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import {
  connectedClient,
  pass,
  requests,
  reset,
  restore,
  running,
  socket,
  startOf,
  stored,
  storedMessage,
} from "./fakes";

const LOCAL = { provider: "local" };
const QUESTION = storedMessage("q1", "user", "Hi!");
const ANSWER = storedMessage("a1", "assistant", "Hel", { state: "streaming" });

beforeEach(() => {
  reset();
  stored.set("c1", []);
});
afterEach(restore);

/** A tab that shows the conversation, and another one. */
async function twoTabs() {
  const { client } = await connectedClient();
  const key = client.openChat("c1");
  await pass();
  const shown = socket();
  const other = await connectedClient();
  requests.length = 0;
  return { shown, client, chat: () => client.getChat(key)!, other };
}

async function askInOther({ other }: Awaited<ReturnType<typeof twoTabs>>) {
  other.client.ask(other.key, "Hi!", LOCAL);
  stored.set("c1", [QUESTION, ANSWER]);
  running.push({ conversationId: "c1" });
  socket().start();
  await pass();
}

test("another tab shows the question and follows the answer at once", async () => {
  const tabs = await twoTabs();
  await askInOther(tabs);
  expect(tabs.shown.sentOf("llm:stream:attach")).toEqual([{ messageId: "a1" }]);
  tabs.shown.answerAttach({ ok: true, ...startOf("s1"), text: "Hell" });
  tabs.shown.token("o", "s1");
  await pass();
  expect(tabs.chat().messages.map(({ content }) => content)).toEqual(["Hi!", "Hello"]);
});

test("whoever attaches tells nobody: each tab asks once", async () => {
  const tabs = await twoTabs();
  await askInOther(tabs);
  tabs.shown.answerAttach({ ok: true, ...startOf("s1"), text: "Hell" });
  await pass(1000);
  expect(requests.filter((path) => path.startsWith("/llm/conversations/"))).toHaveLength(1);
});

test("what is asked in another tab while this one reads is shown as well", async () => {
  const tabs = await twoTabs();
  const ask = fetch;
  vi.stubGlobal("fetch", async (path: string) => {
    const answered = await ask(path);
    await new Promise((resolve) => setTimeout(resolve, 10));
    return answered;
  });
  tabs.client.reload(tabs.chat().key);
  await pass(1); // answered before the other tab asks, and on its way
  await askInOther(tabs);
  await pass();
  expect(tabs.chat().messages[0]?.content).toBe("Hi!");
});

test("a tab that shows another conversation only learns that one is answered", async () => {
  const { client, key } = await connectedClient();
  await askInOther(await twoTabs());
  expect(client.getChat(key)?.messages).toEqual([]);
  expect(client.activity).toMatchObject([{ conversationId: "c1", running: true }]);
});

test("a tab that is closed hears nothing, and one without channels works", async () => {
  const tabs = await twoTabs();
  tabs.client.close();
  await askInOther(tabs);
  expect(tabs.shown.sentOf("llm:stream:attach")).toEqual([]);

  vi.stubGlobal("BroadcastChannel", undefined);
  const { client, key, chat } = await connectedClient();
  client.ask(key, "Hi!", LOCAL);
  socket().start();
  expect(chat().running).toMatchObject({ messageId: "a1" });
});
