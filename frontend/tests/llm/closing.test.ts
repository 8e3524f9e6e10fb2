/** How a client leaves, with the library itself: what it sends, and that it stays away. */
import { Transport } from "engine.io-client";
import { io } from "socket.io-client";
import { afterEach, beforeEach, expect, test } from "vitest";

import { LLMClient } from "../../src/llm";
import type { ChatSocket } from "../../src/llm/events";
import { pass, reset, restore } from "./fakes";

const HANDSHAKE = { sid: "s", upgrades: [], pingInterval: 600_000, pingTimeout: 600_000 };

let opened: number;
/** What each client has sent, as packets of Socket.IO. */
let heard: string[];

/** A connection to a server that lets everybody in. */
class Scripted extends Transport {
  get name() {
    return "scripted";
  }
  doOpen(): void {
    opened += 1;
    queueMicrotask(() => {
      this.onOpen();
      this.onPacket({ type: "open", data: JSON.stringify(HANDSHAKE) });
    });
  }
  doClose(): void {}
  write(packets: { type: string; data?: unknown }[]): void {
    this.writable = false;
    for (const { data } of packets) {
      heard.push(String(data));
      const answer = { type: "message" as const, data: '0{"sid":"s","pid":"p"}' };
      if (String(data).startsWith("0")) queueMicrotask(() => this.onPacket(answer));
    }
    queueMicrotask(() => {
      this.writable = true;
      this.emitReserved("drain");
    });
  }
}

beforeEach(() => {
  reset();
  opened = 0;
  heard = [];
});
afterEach(restore);

async function connected(): Promise<LLMClient> {
  const client = new LLMClient({
    openSocket: (auth) =>
      io("http://server", { auth, forceNew: true, transports: [Scripted] }) as unknown as ChatSocket,
  });
  client.open();
  await pass();
  expect(client.connection).toBe("connected");
  return client;
}

test.each([
  ["answers are to go on", false],
  ["answers are to end", true],
])("the server hears whether %s, and nothing more", async (_, stop) => {
  const client = await connected();
  client.close({ stop });
  await pass(600_000);
  expect(heard.slice(1)).toEqual(stop ? ["1"] : []);
  expect(opened).toBe(1);
});

test("a question is on its way before the connection is closed behind it", async () => {
  const client = await connected();
  client.ask(client.newChat(), "Hi!", { provider: "local" });
  client.close();
  await pass(600_000);
  expect(heard.slice(1)).toEqual([expect.stringContaining("llm:chat:stream")]);
  expect(opened).toBe(1);
});
