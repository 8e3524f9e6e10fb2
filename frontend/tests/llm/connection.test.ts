/** What becomes of tokens and answers when connections break. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { LLMClient } from "../../src/llm";
import {
  connectedClient,
  FRESH,
  NEW,
  openSocket,
  pass,
  requests,
  reset,
  restore,
  socket,
  startOf,
  stored,
  storedMessage,
} from "./fakes";

const LOCAL = { provider: "local" };
const NOT_FOUND = { ok: false, error: "No such stream", code: "stream_not_found" };

beforeEach(reset);
afterEach(restore);

/** A chat whose answer is "Hel" so far. */
async function writingChat() {
  const { client, key, chat } = await connectedClient();
  client.ask(key, "Hi!", LOCAL);
  socket().start();
  socket().token("Hel");
  await pass();
  return { client, key, chat, sessionId: socket().lastSessionId };
}

const answered = (state: string, content: string) => [
  storedMessage("q1", "user", "Hi!"),
  storedMessage("a1", "assistant", content, { state, provider: "local" }),
];

test("a question waits for the connection", async () => {
  const client = new LLMClient({ openSocket });
  const key = client.newChat();
  client.open();
  await pass();
  expect(client.connection).toBe("connecting");
  expect(client.ask(key, "Hi!", LOCAL)).toBe(true);
  expect(socket().sent).toEqual([]);
  socket().accept();
  expect(client.connection).toBe("connected");
  expect(socket().asked).toHaveLength(1);
});

test("a question that waits can be taken back", async () => {
  const client = new LLMClient({ openSocket });
  const key = client.newChat();
  client.open();
  await pass();
  client.ask(key, "Hi!", LOCAL);
  client.stop(key);
  expect(client.getChat(key)).toMatchObject({ running: null });
  expect(client.getChat(key)?.messages[1]?.state).toBe("cancelled");
  socket().accept();
  expect(socket().sent).toEqual([]);
});

test("a recovered connection goes on where it was", async () => {
  const { client, chat } = await writingChat();
  socket().lose();
  expect(client.connection).toBe("reconnecting");
  await pass();
  socket().accept(true);
  socket().token("lo");
  await pass();
  expect(chat().messages[1]?.content).toBe("Hello");
  expect(socket().sentOf("llm:stream:attach")).toEqual([]);
});

test("a connection that is not recovered attaches, no text twice and none missing", async () => {
  const { chat, sessionId } = await writingChat();
  socket().lose();
  await pass();
  socket().accept();
  expect(socket().sentOf("llm:stream:attach")).toEqual([{ messageId: "a1" }]);
  expect(chat().running?.phase).toBe("resuming");
  socket().token("lo, "); // is in the text as well
  socket().answerAttach({ ok: true, ...startOf(sessionId), text: "Hello, " });
  socket().token("world");
  await pass();
  expect(chat().messages[1]?.content).toBe("Hello, world");
  expect(chat().running?.phase).toBe("writing");
});

test("an answer that ended meanwhile is told by the attach", async () => {
  const { chat, sessionId } = await writingChat();
  socket().lose();
  await pass();
  socket().accept();
  const start = startOf(sessionId);
  const data = { ...start, error: "Gone", code: "provider_error", partialResponse: "Hello" };
  const ended = { event: "llm:stream:error", data };
  socket().answerAttach({ ok: true, ...start, text: "Hello", ended });
  expect(chat().running).toBeNull();
  expect(chat().messages[1]).toMatchObject({
    state: "error",
    content: "Hello",
    problem: { code: "provider_error" },
  });
});

test.each(["interrupted", "streaming"])(
  "an answer that no server knows is read from the store, where it is %s",
  async (state) => {
    const { chat } = await writingChat();
    const keys = chat().messages.map(({ key }) => key);
    stored.set("c1", answered(state, "He"));
    socket().lose();
    await pass();
    socket().accept();
    socket().answerAttach(NOT_FOUND);
    await pass();
    expect(chat().running).toBeNull();
    expect(chat().messages[1]).toMatchObject({
      state: "interrupted",
      content: "He",
      problem: { code: "interrupted" },
    });
    expect(chat().messages.map(({ key }) => key)).toEqual(keys);
    await pass(60_000);
    expect(requests.filter((path) => path.includes("c1"))).toHaveLength(1);
    expect(socket().sentOf("llm:stream:attach")).toHaveLength(1);
  },
);

test("a question that was lost on the way is sent again, once it is known to be", async () => {
  const { client, key, chat } = await connectedClient();
  client.ask(key, "Hi!", LOCAL);
  socket().lose();
  await pass();
  socket().accept(true);
  expect(socket().asked).toHaveLength(1);
  socket().answerAttach(NOT_FOUND);
  expect(socket().asked).toHaveLength(2);
  expect(socket().asked[1]).toEqual(socket().asked[0]);
  socket().start();
  socket().done("Hello");
  expect(chat().messages[1]?.state).toBe("complete");
});

test("a question that was stopped, and lost on the way, is not sent again", async () => {
  const { client, key, chat } = await connectedClient();
  client.ask(key, "Hi!", LOCAL);
  socket().lose();
  client.stop(key);
  await pass();
  socket().accept(true);
  socket().answerAttach(NOT_FOUND);
  expect(socket().asked).toHaveLength(1);
  expect(chat()).toMatchObject({ running: null });
  expect(chat().messages[1]).toMatchObject({ state: "cancelled", problem: null });
});

test("a question that turns out to have been taken is attached to", async () => {
  const { client, key, chat } = await connectedClient();
  client.ask(key, "Hi!", LOCAL);
  const sessionId = socket().lastSessionId;
  socket().fail("session_active");
  expect(socket().sentOf("llm:stream:attach")).toEqual([{ sessionId }]);
  socket().answerAttach({ ok: true, ...startOf(sessionId), text: "Hel" });
  expect(chat().messages[1]).toMatchObject({ state: "streaming", content: "Hel" });
});

test("a question that may have been taken is not sent again by itself", async () => {
  const { client, key, chat } = await connectedClient();
  client.ask(key, "Hi!", LOCAL);
  socket().lose();
  await pass();
  socket().accept();
  socket().answerAttach(NOT_FOUND);
  await pass();
  expect(socket().asked).toHaveLength(1);
  expect(chat().messages[1]).toMatchObject({
    state: "error",
    problem: { code: "connection_lost" },
  });
});

test("a question that was stored and not heard of is shown as it is stored", async () => {
  stored.set("c1", answered("complete", "Hello"));
  const { client } = await connectedClient();
  const key = client.openChat("c1");
  await pass();
  client.ask(key, "And?", LOCAL);
  stored.get("c1")!.push(storedMessage("q2", "user", "And?"));
  stored.get("c1")!.push(storedMessage("a2", "assistant", "Well", { state: "interrupted" }));
  socket().lose();
  await pass();
  socket().accept();
  socket().answerAttach(NOT_FOUND);
  await pass();
  expect(client.getChat(key)?.messages.at(-1)).toMatchObject({ id: "a2", content: "Well" });
});

test("a server that says nothing is asked what has become of the question", async () => {
  const { client, key, chat } = await connectedClient();
  client.ask(key, "Hi!", LOCAL);
  const sessionId = socket().lastSessionId;
  await pass(15_000);
  expect(socket().sentOf("llm:stream:attach")).toEqual([{ sessionId }]);
  socket().answerAttach(NOT_FOUND);
  await pass();
  expect(chat().messages[1]?.problem?.code).toBe("connection_lost");
});

test("an answer whose conversation is gone keeps its text, to go on from", async () => {
  const { client, key, chat } = await writingChat();
  socket().lose();
  await pass();
  socket().accept();
  socket().answerAttach(NOT_FOUND);
  await pass();
  expect(chat().messages[1]).toMatchObject({ content: "Hel", problem: { code: "interrupted" } });
  client.ask(key, "And?", LOCAL);
  expect(socket().asked[1]).not.toHaveProperty("conversationId");
  expect(socket().asked[1]?.["messages"]).toHaveLength(3);
});

test("an attach over the limit is put off", async () => {
  const { chat, sessionId } = await writingChat();
  socket().lose();
  await pass();
  socket().accept();
  socket().answerAttach({ ok: false, error: "Rate limit exceeded", code: "rate_limited" });
  await pass(3000);
  expect(socket().sentOf("llm:stream:attach")).toHaveLength(2);
  socket().answerAttach({ ok: true, ...startOf(sessionId), text: "Hello" });
  expect(chat().messages[1]?.content).toBe("Hello");
});

test("an answer that is stopped while the connection is lost is cancelled later", async () => {
  const { client, key, chat, sessionId } = await writingChat();
  socket().lose();
  client.stop(key);
  await pass();
  socket().accept();
  socket().answerAttach({ ok: true, ...startOf(sessionId), text: "Hello" });
  expect(socket().sentOf("llm:stream:cancel")).toEqual([{ sessionId }]);
  expect(chat().running?.phase).toBe("stopping");
});

test("a cancel that finds nothing shows what is stored", async () => {
  const { client, key, chat } = await writingChat();
  stored.set("c1", answered("complete", "Hello"));
  client.stop(key);
  socket().fail("stream_not_found");
  await pass();
  expect(chat().messages[1]).toMatchObject({ state: "complete", content: "Hello" });
});

test("a stored conversation is shown, and its running answer gone on with", async () => {
  stored.set("c1", answered("streaming", "He"));
  const { client } = await connectedClient();
  const key = client.openChat("c1");
  expect(client.getChat(key)).toMatchObject({ loading: true, conversationId: "c1" });
  await pass();
  expect(client.getChat(key)?.messages[1]?.content).toBe("He");
  expect(socket().sentOf("llm:stream:attach")).toEqual([{ messageId: "a1" }]);
  socket().answerAttach({ ok: true, ...startOf("of-another-tab"), text: "Hel" });
  socket().token("lo", "of-another-tab");
  socket().done("Hello", "of-another-tab");
  expect(client.getChat(key)?.messages[1]).toMatchObject({ state: "complete", content: "Hello" });

  stored.set("c1", answered("complete", "Hello, again"));
  expect(client.openChat("c1")).toBe(key);
  await pass();
  expect(client.getChat(key)?.messages[1]?.content).toBe("Hello, again");
  client.regenerate(key);
  expect(socket().asked[0]).toMatchObject({ provider: "local", replaces: "q1" });
});

test("what is asked while a chat is read anew stays", async () => {
  stored.set("c1", answered("complete", "Hello"));
  const { client } = await connectedClient();
  const key = client.openChat("c1");
  expect(client.ask(key, "And?", LOCAL)).toBe(false); // nothing is known of it yet
  await pass();
  client.openChat("c1");
  expect(client.ask(key, "And?", LOCAL)).toBe(true);
  await pass();
  expect(client.getChat(key)?.messages).toHaveLength(4);
  socket().fail("rate_limited");
  client.openChat("c1");
  await pass();
  expect(client.getChat(key)?.messages.at(-1)?.problem?.code).toBe("rate_limited");
});

test("a conversation that is not there is a problem of its chat", async () => {
  const { client } = await connectedClient();
  const key = client.openChat("c9");
  await pass();
  expect(client.getChat(key)).toMatchObject({
    loading: false,
    problem: { code: "conversation_not_found", text: "Not there" },
  });
});

test("nothing is asked in a conversation that could not be read", async () => {
  stored.set("c1", answered("complete", "Hello"));
  const { client } = await connectedClient();
  vi.stubGlobal("fetch", () => Promise.reject(new Error("No network")));
  const key = client.openChat("c1");
  await pass();
  expect(client.getChat(key)?.problem?.code).toBe("unreachable");
  expect(client.ask(key, "And?", LOCAL)).toBe(false); // it would go without its history
  expect(socket().asked).toEqual([]);

  const messages = stored.get("c1");
  vi.stubGlobal("fetch", async () => Response.json({ messages, cursor: null }));
  client.reload(key);
  await pass();
  expect(client.ask(key, "And?", LOCAL)).toBe(true);
  expect(socket().asked[0]?.["messages"]).toHaveLength(3);
});

test("a refused token is renewed", async () => {
  const client = new LLMClient({ openSocket });
  client.open();
  await pass();
  expect(socket().tokens).toEqual([FRESH]);
  socket().refuse("token_expired");
  await pass(2000);
  expect(requests).toContain("/auth/token/refresh");
  expect(socket().tokens).toEqual([FRESH, NEW]);
});

test("a question that a token is too old for is asked with a new one", async () => {
  const { client, key, chat } = await connectedClient();
  client.ask(key, "Hi!", LOCAL);
  socket().fail("token_expired");
  expect(chat().running).not.toBeNull();
  await pass();
  socket().accept(true);
  expect(socket().asked).toHaveLength(2);
  expect(socket().tokens.at(-1)).toBe(NEW);
  socket().fail("token_expired");
  expect(chat().messages[1]?.problem?.code).toBe("token_expired");
});

test("a question waits for a new token where the old one has expired", async () => {
  const { client, key } = await connectedClient();
  vi.setSystemTime(5_000_000_000_000);
  client.ask(key, "Hi!", LOCAL);
  expect(socket().asked).toEqual([]);
  await pass();
  expect(socket().tokens.at(-1)).toBe(NEW);
  socket().accept(true);
  expect(socket().asked).toHaveLength(1);
});

/** A client whose token has expired; a test answers each request for another one. */
async function refreshing() {
  localStorage.setItem("jwt_token", "expired");
  const answers: ((isThere: boolean) => void)[] = [];
  const fetched = () =>
    new Promise<Response>((resolve, reject) => {
      const pair = Response.json({ access: NEW, refresh: "next" });
      answers.push((isThere) => (isThere ? resolve(pair) : reject(new Error("No network"))));
    });
  vi.stubGlobal("fetch", fetched);
  new LLMClient({ openSocket }).open();
  await pass();
  return answers;
}

test("a token that comes when its connection is lost is given to the next one once", async () => {
  const answers = await refreshing();
  socket().lose();
  await pass();
  answers[0]!(true);
  await pass();
  expect(socket().tokens).toEqual([NEW]);
});

test("a connection that has come by itself is not closed by an earlier failure", async () => {
  const answers = await refreshing();
  answers[0]!(false);
  await pass();
  socket().lose();
  await pass();
  answers[1]!(true);
  await pass();
  socket().accept(true);
  await pass(5000);
  expect(socket().closed).toBe(false);
});

test("whoever has no token that the server takes is told to log in", async () => {
  localStorage.clear();
  const onLoggedOut = vi.fn();
  new LLMClient({ openSocket, onLoggedOut }).open();
  await pass();
  expect(onLoggedOut).toHaveBeenCalledOnce();
});

test.each([
  ["what stands between logs nobody out", "Who are you?", 0],
  ["the server's own does", '{"error": "No", "code": "token_invalid"}', 1],
])("of a 401 for a conversation, %s", async (_, body, times) => {
  const onLoggedOut = vi.fn();
  const client = new LLMClient({ openSocket, onLoggedOut });
  client.open();
  await pass();
  socket().accept();
  vi.stubGlobal("fetch", async () => new Response(body, { status: 401 }));
  const key = client.openChat("c1");
  await pass();
  expect(client.getChat(key)?.problem).not.toBeNull();
  expect(onLoggedOut).toHaveBeenCalledTimes(times);
});

test("the browser's own word on the network counts", async () => {
  const { client } = await connectedClient();
  const network = vi.spyOn(navigator, "onLine", "get").mockReturnValue(false);
  socket().lose();
  window.dispatchEvent(new Event("offline"));
  expect(client.connection).toBe("offline");
  network.mockRestore();
  window.dispatchEvent(new Event("online"));
  expect(client.connection).toBe("reconnecting");
});

test("why the server refuses a connection is told until it does not", async () => {
  const client = new LLMClient({ openSocket });
  client.open();
  await pass();
  socket().refuse("too_many_sockets");
  expect(client.connectionProblem?.code).toBe("too_many_sockets");
  await pass(2000);
  socket().accept();
  expect(client.connectionProblem).toBeNull();
});

test("a client that is closed and opened again goes on with its answer", async () => {
  const { client, chat, sessionId } = await writingChat();
  const first = socket();
  client.close();
  client.open();
  await pass();
  expect(first).toMatchObject({ closed: true, left: false });
  expect(socket()).not.toBe(first);
  socket().accept();
  expect(socket().sentOf("llm:stream:attach")).toEqual([{ messageId: "a1" }]);
  socket().answerAttach({ ok: true, ...startOf(sessionId), text: "Hello" });
  await pass();
  expect(chat().messages[1]).toMatchObject({ state: "streaming", content: "Hello" });
  expect(first.tokens).toHaveLength(1);
});
