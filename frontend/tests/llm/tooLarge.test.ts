/** What is more than the server reads at once: it would close the connection. */
import { afterEach, beforeEach, expect, test } from "vitest";

import { hint } from "../../src/chat/reasons";
import {
  connectedClient,
  pass,
  reset,
  restore,
  socket,
  stored,
  storedMessage,
} from "./fakes";

const LOCAL = { provider: "local" };

beforeEach(reset);
afterEach(restore);

// As socket.io-client calls the limit from 4.8 on, and before.
test.each(["_maxPayload", "maxPayload"] as const)(
  "the bytes of a question count, also those that JSON adds (%s)",
  async (name) => {
    const { client } = await connectedClient();
    expect(client.takes("a".repeat(5_000_000))).toBe(true); // no limit is known
    socket().io.engine[name] = 1000;
    expect(client.takes("a".repeat(700))).toBe(true);
    expect(client.takes("ä".repeat(700))).toBe(false);
    expect(client.takes('"'.repeat(700))).toBe(false);
  },
);

test("with a history that is too long nothing is sent, and that is said", async () => {
  const { client, key, chat } = await connectedClient();
  client.ask(key, "Hi!", LOCAL);
  socket().start();
  socket().done("a".repeat(1000));
  socket().io.engine._maxPayload = 1000;
  client.ask(key, "And?", LOCAL);
  await pass(60_000);
  expect(socket().asked).toHaveLength(1);
  expect(chat().running).toBeNull();
  expect(chat().messages.at(-1)?.problem?.code).toBe("payload_too_large");
});

test("a question that breaks each connection is sent twice, and not for ever", async () => {
  const { client, key, chat } = await connectedClient(); // no limit is known
  client.ask(key, "Hi!", LOCAL);
  for (let time = 0; time < 4 && chat().running !== null; time += 1) {
    socket().lose();
    await pass();
    socket().accept(true);
    socket().answerAttach({ ok: false, error: "Not there", code: "stream_not_found" });
    await pass();
  }
  expect(socket().asked).toHaveLength(2);
  expect(chat().running).toBeNull();
  expect(chat().messages.at(-1)?.problem?.code).toBe("connection_lost");
});

test("a question with more messages than the server takes is not sent, and that is said", async () => {
  const messages = Array.from({ length: 1000 }, (_, index) =>
    storedMessage(`m${index}`, index % 2 === 0 ? "user" : "assistant", "Well"),
  );
  stored.set("c1", messages);
  const { client } = await connectedClient();
  const key = client.openChat("c1");
  await pass();
  client.ask(key, "And?", LOCAL);
  await pass();
  expect(socket().asked).toHaveLength(0);
  const code = client.getChat(key)?.messages.at(-1)?.problem?.code;
  expect(code).toBe("payload_too_large");
  expect(hint(code ?? "")).toContain("Start a new chat");

  client.edit(key, "m998", "Or?", LOCAL); // of which there are as many as it takes
  expect(socket().asked[0]?.["messages"]).toHaveLength(999);
});
