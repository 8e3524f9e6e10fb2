/** What another tab has changed, and ends that came without their texts. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { connectedClient, pass, reset, restore, socket, startOf, stored, storedMessage } from "./fakes";

const LOCAL = { provider: "local" };

beforeEach(reset);
afterEach(restore);

/** A question whose answer is complete; its second try is refused. */
async function replacedElsewhere() {
  const { client, key, chat } = await connectedClient();
  client.ask(key, "Hi!", LOCAL);
  socket().start(undefined, { questionId: "q1" });
  socket().done("Hello");
  client.regenerate(key);
  socket().fail("message_not_found");
  return { client, key, chat };
}

test("what another tab has replaced is read, and then asked in its place", async () => {
  const { client, key, chat } = await replacedElsewhere();
  stored.set("c1", [storedMessage("q7", "user", "Hi!"), storedMessage("a7", "assistant", "Hey")]);
  expect(client.regenerate(key)).toBe(true);
  expect(client.regenerate(key)).toBe(false); // it is being read
  await pass();
  expect(socket().asked).toHaveLength(3);
  expect(socket().asked[2]).toMatchObject({
    conversationId: "c1",
    replaces: "q7",
    messages: [{ role: "user", content: "Hi!" }],
  });
  socket().start(undefined, { questionId: "q8", messageId: "a8" });
  socket().done("Howdy");
  expect(chat().messages.map(({ content }) => content)).toEqual(["Hi!", "Howdy"]);
});

test("where nothing is left in its place, it is asked at the end", async () => {
  const { client, key } = await replacedElsewhere();
  stored.set("c1", []);
  client.regenerate(key);
  await pass();
  expect(socket().asked[2]).toMatchObject({ conversationId: "c1" });
  expect(socket().asked[2]).not.toHaveProperty("replaces");
});

test("where it cannot be read, the failed question stays to be tried again", async () => {
  const { client, key, chat } = await replacedElsewhere();
  vi.stubGlobal("fetch", () => Promise.reject(new Error("No network")));
  client.regenerate(key);
  await pass();
  expect(socket().asked).toHaveLength(2);
  expect(chat()).toMatchObject({ loading: false, running: null });
  expect(chat().messages.at(-1)?.problem?.code).toBe("message_not_found");
});

test("while another device is being answered, the question stays and is told why", async () => {
  const { client, key, chat } = await replacedElsewhere();
  const answer = storedMessage("a7", "assistant", "He", { state: "streaming" });
  stored.set("c1", [storedMessage("q7", "user", "Hey!"), answer]);
  expect(client.edit(key, chat().messages[0]!.key, "Howdy!")).toBe(true);
  socket().fail("message_not_found");
  client.retry(key);
  await pass();
  expect(socket().asked).toHaveLength(3);
  expect(chat()).toMatchObject({ loading: false, running: null });
  expect(chat().messages.map(({ content }) => content)).toEqual(["Howdy!", ""]);
  expect(chat().messages[1]).toMatchObject({ state: "error", problem: { code: "conversation_active" } });

  stored.set("c1", [storedMessage("q7", "user", "Hey!"), { ...answer, state: "complete" }]);
  client.retry(key);
  expect(chat().loading).toBe(true); // it is read again
  await pass();
  expect(socket().asked[3]).toMatchObject({
    replaces: "q7",
    messages: [{ role: "user", content: "Howdy!" }],
  });
});

test("a question that replaces none is never put in the place of another device's", async () => {
  const { client, key } = await connectedClient();
  client.ask(key, "Hi!", LOCAL);
  socket().start(undefined, { questionId: "q1" });
  socket().done("Hello");
  client.ask(key, "And?", LOCAL);
  socket().fail("conversation_active");
  client.retry(key);
  expect(socket().asked[2]).toMatchObject({ conversationId: "c1" });
  expect(socket().asked[2]).not.toHaveProperty("replaces");
});

test("where it has been deleted, what is shown goes on as a new conversation", async () => {
  const { client, key, chat } = await replacedElsewhere();
  client.regenerate(key);
  await pass();
  const { sessionId: _, ...request } = socket().asked[2]!;
  expect(request).toEqual({ provider: "local", messages: [{ role: "user", content: "Hi!" }] });
  expect(chat().messages.map(({ content }) => content)).toEqual(["Hi!", ""]);
});

test("an end without its text is completed by attaching to the answer", async () => {
  const { client, key, chat } = await connectedClient();
  client.ask(key, "Hi!", LOCAL);
  const sessionId = socket().lastSessionId;
  socket().start();
  socket().token("Hel");
  await pass();
  const end = { ...startOf(sessionId), finishReason: "stop", usage: null, tokenCount: 2 };
  socket().receive("llm:stream:done", { ...end, fullResponse: "", shortened: true });
  expect(chat().messages[1]).toMatchObject({ content: "Hel", state: "streaming" });
  const ended = { event: "llm:stream:done", data: { ...end, fullResponse: "Hello" } };
  socket().answerAttach({ ok: true, ...startOf(sessionId), text: "Hello", ended });
  expect(chat().messages[1]).toMatchObject({ content: "Hello", state: "complete" });
});

test("an end without its text is read where the server no longer has the answer", async () => {
  const { client, key, chat } = await connectedClient();
  client.ask(key, "Hi!", LOCAL);
  const end = startOf(socket().lastSessionId);
  socket().start();
  socket().receive("llm:stream:cancelled", { ...end, partialResponse: "", shortened: true });
  const answer = storedMessage("a1", "assistant", "Hello", { state: "cancelled" });
  stored.set("c1", [storedMessage("q1", "user", "Hi!"), answer]);
  socket().answerAttach({ ok: false, error: "No", code: "stream_not_found" });
  await pass();
  expect(chat()).toMatchObject({ running: null });
  expect(chat().messages[1]).toMatchObject({ content: "Hello", state: "cancelled" });
});
