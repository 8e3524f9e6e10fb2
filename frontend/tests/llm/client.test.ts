/** Asking, hearing and stopping: one chat and several. */
import { afterEach, beforeEach, expect, test } from "vitest";

import type { Chat } from "../../src/llm";
import { connectedClient, pass, reset, restore, running, socket } from "./fakes";

const LOCAL = { provider: "local" };

beforeEach(reset);
afterEach(restore);

function shown({ messages }: Chat): string[] {
  return messages.map(({ role, state, content }) => `${role} ${state}: ${content}`);
}

test("an answer grows by its tokens, in their order, and ends with its facts", async () => {
  const { client, key, chat } = await connectedClient();
  expect(client.ask(key, "Hi!", { ...LOCAL, model: "small", temperature: 0 })).toBe(true);
  const { sessionId, ...request } = socket().asked[0]!;
  expect(request).toEqual({
    provider: "local",
    model: "small",
    temperature: 0,
    messages: [{ role: "user", content: "Hi!" }],
  });
  expect(chat().running).toMatchObject({ sessionId, phase: "waiting" });

  socket().start();
  for (const word of ["One ", "two ", "three"]) socket().token(word);
  await pass();
  expect(shown(chat())).toEqual(["user complete: Hi!", "assistant streaming: One two three"]);
  expect(chat().running).toMatchObject({ messageId: "a1", phase: "writing" });

  socket().token(" four");
  socket().done("One two three four");
  expect(chat()).toMatchObject({ running: null, conversationId: "c1" });
  expect(chat().endedAt).not.toBeNull();
  expect(chat().messages[1]).toMatchObject({
    id: "a1",
    state: "complete",
    content: "One two three four",
    finishReason: "stop",
    model: "small",
    usage: { inputTokens: 1, outputTokens: 2 },
  });
  await pass(1000);
  expect(chat().messages[1]?.content).toBe("One two three four");
});

test("the next question has the history, and names the conversation", async () => {
  const { client, key } = await connectedClient();
  client.ask(key, "Hi!", { ...LOCAL, instructions: "Be short." });
  socket().start();
  socket().done("Hello");
  client.ask(key, "And?", LOCAL);
  expect(socket().asked[1]).toMatchObject({
    conversationId: "c1",
    messages: [
      { role: "system", content: "Be short." },
      { role: "user", content: "Hi!" },
      { role: "assistant", content: "Hello" },
      { role: "user", content: "And?" },
    ],
  });
});

test("nothing is asked while an answer is written, or without a word", async () => {
  const { client, key } = await connectedClient();
  expect(client.ask(key, "  ", LOCAL)).toBe(false);
  client.ask(key, "Hi!", LOCAL);
  expect(client.ask(key, "And?", LOCAL)).toBe(false);
  expect(socket().asked).toHaveLength(1);
});

test("late events of an old session change nothing", async () => {
  const { client, key, chat } = await connectedClient();
  client.ask(key, "Hi!", LOCAL);
  const old = socket().lastSessionId;
  socket().start();
  socket().cancelled("Hel");
  client.ask(key, "And?", LOCAL);
  const before = chat();
  socket().token("lo", old);
  socket().start(old);
  socket().done("Hello", old);
  socket().fail("provider_error", {}, old);
  await pass();
  expect(chat()).toBe(before);
});

test("several chats are answered at once, also behind another one", async () => {
  const { client, key, chat } = await connectedClient();
  const other = client.newChat();
  client.ask(key, "One?", LOCAL);
  const first = socket().lastSessionId;
  client.ask(other, "Two?", LOCAL);
  socket().start(first);
  socket().start(undefined, { conversationId: "c2", messageId: "a2" });
  socket().token("1", first);
  socket().token("2");
  socket().token("1", first);
  await pass();
  expect(chat().messages[1]?.content).toBe("11");
  expect(client.getChat(other)?.messages[1]?.content).toBe("2");
  expect(client.activity).toMatchObject([
    { conversationId: "c1", chatKey: key, running: true, endedAt: null },
    { conversationId: "c2", chatKey: other, running: true, endedAt: null },
  ]);
  const { activity } = client;
  socket().token("1", first);
  await pass();
  expect(client.activity).toBe(activity);
  socket().done("111", first);
  expect(client.activity).toMatchObject([{ running: false }, { running: true }]);
  expect(client.activity[0]?.endedAt).not.toBeNull();
});

test("stop cancels, and the answer keeps its text", async () => {
  const { client, key, chat } = await connectedClient();
  client.ask(key, "Hi!", LOCAL);
  const sessionId = socket().lastSessionId;
  socket().start();
  socket().token("Hel");
  client.stop(key);
  expect(socket().sentOf("llm:stream:cancel")).toEqual([{ sessionId }]);
  socket().token("lo");
  await pass();
  expect(chat().running?.phase).toBe("stopping");
  socket().cancelled("Hello");
  expect(shown(chat())[1]).toBe("assistant cancelled: Hello");
  expect(chat().messages[1]?.problem).toBeNull();
});

test("a cancel that the server cannot obey is told, and may be tried again", async () => {
  const { client, key, chat } = await connectedClient();
  client.ask(key, "Hi!", LOCAL);
  const sessionId = socket().lastSessionId;
  socket().start();
  socket().token("Hel");
  await pass();
  client.stop(key);
  const error = { error: "No database", code: "database_unavailable", retryAfter: 5 };
  socket().receive("llm:stream:error", { sessionId: null, ...error });
  socket().answerCancel({ ok: false, ...error });
  const problem = { code: "database_unavailable", text: "No database" };
  expect(chat().running).toMatchObject({ phase: "writing", problem });
  socket().token("lo");
  await pass();
  expect(chat().messages[1]).toMatchObject({ content: "Hello", state: "streaming" });

  client.stop(key);
  expect(chat().running).toMatchObject({ phase: "stopping", problem: null });
  expect(socket().sentOf("llm:stream:cancel")).toEqual([{ sessionId }, { sessionId }]);
  socket().cancelled("Hello");
  expect(chat().running).toBeNull();
  socket().answerCancel({ ok: true });
  expect(chat().messages[1]?.state).toBe("cancelled");
});

test("a cancel that found nothing, or whose answer has ended, changes nothing", async () => {
  const { client, key, chat } = await connectedClient();
  client.ask(key, "Hi!", LOCAL);
  socket().start();
  client.stop(key);
  socket().answerCancel({ ok: false, error: "No", code: "stream_not_found" });
  expect(chat().running).toMatchObject({ phase: "stopping", problem: null });
  socket().cancelled("");
  client.ask(key, "And?", LOCAL);
  socket().answerCancel({ ok: false, error: "No", code: "database_unavailable" });
  expect(chat().running).toMatchObject({ phase: "waiting", problem: null });
});

test("a failed answer stays at its turn, with the time of another try", async () => {
  const { client, key, chat } = await connectedClient();
  client.ask(key, "Hi!", LOCAL);
  const now = Date.now();
  socket().fail("rate_limited", { retryAfter: 7 });
  expect(shown(chat())).toEqual(["user complete: Hi!", "assistant error: "]);
  expect(chat().messages[1]?.problem).toEqual({
    code: "rate_limited",
    text: "rate_limited!",
    retryAt: now + 7000,
  });
});

test("a failed question is not joined to the next one", async () => {
  const { client, key, chat } = await connectedClient();
  client.ask(key, "Hi!", LOCAL);
  socket().fail("key_not_configured");
  client.ask(key, "And?", LOCAL);
  expect(socket().asked[1]?.["messages"]).toEqual([{ role: "user", content: "And?" }]);
  expect(chat().messages).toHaveLength(4);
});

test("an answer that broke off belongs to the history", async () => {
  const { client, key } = await connectedClient();
  client.ask(key, "Hi!", LOCAL);
  socket().start();
  socket().token("Hel");
  socket().fail("provider_error");
  client.ask(key, "And?", LOCAL);
  expect(socket().asked[1]?.["messages"]).toContainEqual({ role: "assistant", content: "Hel" });
});

test("a failed question is asked again in its place", async () => {
  const { client, key, chat } = await connectedClient();
  client.ask(key, "Hi!", { provider: "openai" });
  socket().fail("key_not_configured");
  client.retry(key, LOCAL);
  const { sessionId: _, ...request } = socket().asked[1]!;
  expect(request).toEqual({ provider: "local", messages: [{ role: "user", content: "Hi!" }] });
  expect(shown(chat())).toEqual(["user complete: Hi!", "assistant streaming: "]);
});

test("what is shown of a conversation that is deleted elsewhere goes on as a new one", async () => {
  const { client, key, chat } = await connectedClient();
  client.ask(key, "Hi!", LOCAL);
  socket().start(undefined, { questionId: "q1" });
  socket().done("Hello");
  client.ask(key, "And?", LOCAL);
  socket().fail("conversation_not_found");
  expect(chat().messages.at(-1)?.problem?.code).toBe("conversation_not_found");

  expect(client.retry(key)).toBe(true);
  const { sessionId: _, ...request } = socket().asked[2]!;
  expect(request).toEqual({
    provider: "local",
    messages: [
      { role: "user", content: "Hi!" },
      { role: "assistant", content: "Hello" },
      { role: "user", content: "And?" },
    ],
  });
  socket().start(undefined, { conversationId: "c2", messageId: "a2", questionId: "q2" });
  socket().done("Well");
  client.ask(key, "So?", LOCAL);
  expect(socket().asked[3]).toMatchObject({ conversationId: "c2" });
});

test("an edit in a conversation that is deleted elsewhere goes on as a new one", async () => {
  const { client, key, chat } = await connectedClient();
  client.ask(key, "Hi!", LOCAL);
  socket().start(undefined, { questionId: "q1" });
  socket().done("Hello");
  client.edit(key, chat().messages[0]!.key, "Hey!");
  socket().fail("conversation_not_found");
  client.ask(key, "Well?", LOCAL);
  expect(socket().asked[2]).not.toHaveProperty("conversationId");
  expect(socket().asked[2]).not.toHaveProperty("replaces");
  expect(chat().messages.map(({ content }) => content)).toEqual(["Hey!", "", "Well?", ""]);
});

test("an answer is regenerated in its conversation", async () => {
  const { client, key, chat } = await connectedClient();
  client.ask(key, "Hi!", LOCAL);
  socket().start(undefined, { questionId: "q1" });
  socket().done("Hello");
  expect(client.regenerate(key)).toBe(true);
  expect(socket().asked[1]).toMatchObject({
    provider: "local",
    conversationId: "c1",
    replaces: "q1",
    messages: [{ role: "user", content: "Hi!" }],
  });
  socket().start(undefined, { questionId: "q2", messageId: "a2" });
  socket().done("Howdy");
  expect(shown(chat())).toEqual(["user complete: Hi!", "assistant complete: Howdy"]);
  client.ask(key, "And?", LOCAL);
  expect(socket().asked[2]).not.toHaveProperty("replaces");
});

test("what an edit replaces is replaced when its second try is taken", async () => {
  const { client, key, chat } = await connectedClient();
  client.ask(key, "Hi!", LOCAL);
  socket().start(undefined, { questionId: "q1" });
  socket().done("Hello");
  client.edit(key, chat().messages[0]!.key, "Hey!");
  socket().fail("rate_limited");
  client.ask(key, "Well?", LOCAL);
  expect(socket().asked[2]).toMatchObject({
    conversationId: "c1",
    replaces: "q1",
    messages: [{ role: "user", content: "Well?" }],
  });
});

test("an edit goes on from the edited question", async () => {
  const { client, key, chat } = await connectedClient();
  for (const [question, id] of [["One?", "q1"], ["Two?", "q2"], ["Three?", "q3"]]) {
    client.ask(key, question!, LOCAL);
    socket().start(undefined, { questionId: id });
    socket().done("Yes");
  }
  client.edit(key, chat().messages[2]!.key, "2?");
  expect(socket().asked.at(-1)).toMatchObject({
    replaces: "q2",
    messages: [{ content: "One?" }, { content: "Yes" }, { content: "2?" }],
  });
  expect(chat().messages).toHaveLength(4);
});

test("where the ids are not known, an edit sends the history alone", async () => {
  const { client, key, chat } = await connectedClient();
  client.ask(key, "Hi!", LOCAL);
  socket().start();
  socket().done("Hello");
  client.edit(key, chat().messages[0]!.key, "Hey!");
  expect(socket().asked[1]).not.toHaveProperty("conversationId");
  expect(socket().asked[1]).not.toHaveProperty("replaces");
});

test("an answer that stopped at its limit is gone on with", async () => {
  const { client, key } = await connectedClient();
  client.ask(key, "Hi!", LOCAL);
  socket().start();
  socket().done("Once upon");
  client.continueAnswer(key);
  const messages = socket().asked[1]?.["messages"] as { content: string }[];
  expect(messages.map(({ content }) => content)).toEqual(["Hi!", "Once upon", "Continue."]);
});

test("answers that other tabs began are known, and when they end", async () => {
  running.push({ conversationId: "elsewhere" });
  const { client } = await connectedClient();
  const found = { conversationId: "elsewhere", chatKey: null };
  expect(client.activity).toEqual([{ ...found, running: true, endedAt: null }]);
  running.length = 0;
  await pass(5000);
  expect(client.activity).toMatchObject([{ ...found, running: false }]);
  expect(client.activity[0]?.endedAt).not.toBeNull();
});
