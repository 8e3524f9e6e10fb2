/** A WebSocket that is lost in mid-upgrade, with the library itself. */
import { Transport } from "engine.io-client";
import { io } from "socket.io-client";
import { afterEach, beforeEach, expect, test } from "vitest";

import { LLMClient } from "../../src/llm";
import type { ChatSocket } from "../../src/llm/events";
import { pass, reset, restore } from "./fakes";

const TIMES = { pingInterval: 600_000, pingTimeout: 600_000 };
const HANDSHAKE = JSON.stringify({ sid: "s", upgrades: ["websocket"], ...TIMES });
/** How long the library waits at most before it reconnects for the first time. */
const LONGEST_RETRY_MS = 1500;
const JOINED = '0{"sid":"s","pid":"p"}';

/** What is called when the library opens a WebSocket. */
let onWebSocket: (websocket: ScriptedWebSocket) => void;
/** The polling that began last. */
let polling: ScriptedPolling;
let opened: number;
/** What clients have sent by polling, as packets of Socket.IO. */
let heard: string[];

/** Polling: the GET is answered by `say`, and a POST at once. */
class ScriptedPolling extends Transport {
  /** Called when the GET is answered after the library has paused. */
  onPaused = (): void => {};

  get name() {
    return "polling";
  }
  doOpen(): void {
    opened += 1;
    polling = this;
    queueMicrotask(() => {
      this.onOpen();
      this.onPacket({ type: "open", data: HANDSHAKE });
    });
  }
  doClose(): void {}
  override pause(onPause: () => void): void {
    this.readyState = "pausing";
    this.onPaused = onPause;
  }
  write(packets: { type: string; data?: unknown }[]): void {
    this.writable = false;
    const asked = packets.map(({ data }) => String(data));
    heard.push(...asked);
    queueMicrotask(() => {
      this.writable = true;
      this.emitReserved("drain");
      if (asked.some((data) => data.startsWith("0"))) this.say(JOINED);
    });
  }
  say(data: string): void {
    this.onPacket({ type: "message", data });
  }
  lose(): void {
    this.onClose();
  }
}

class ScriptedWebSocket extends Transport {
  get name() {
    return "websocket";
  }
  doOpen(): void {
    queueMicrotask(() => onWebSocket(this));
  }
  doClose(): void {}
  write(): void {}
  opens(): void {
    this.onOpen();
  }
  pong(): void {
    this.onPacket({ type: "pong", data: "probe" });
  }
  lose(): void {
    this.onClose();
  }
}

beforeEach(() => {
  reset();
  opened = 0;
  heard = [];
});
afterEach(restore);

/** A client that is connected by polling, and the WebSocket that it probes. */
async function probing() {
  const found: { socket?: ChatSocket; websocket?: ScriptedWebSocket } = {};
  onWebSocket = (websocket) => (found.websocket ??= websocket);
  const client = new LLMClient({
    openSocket: (auth) => {
      const transports = [ScriptedPolling, ScriptedWebSocket];
      const socket = io("http://server", { auth, forceNew: true, transports });
      found.socket = socket as unknown as ChatSocket;
      return found.socket;
    },
  });
  client.open();
  await pass();
  expect(client.connection).toBe("connected");
  polling.say('2["llm:stream:token",{"sessionId":"other","token":"a"},"7"]');
  await pass();
  const { socket, websocket } = found as Required<typeof found>;
  websocket.opens();
  return { client, socket, websocket };
}

test("a client whose WebSocket is lost when it has stopped polling comes back soon", async () => {
  const { client, websocket } = await probing();
  websocket.pong();
  websocket.lose();
  expect(client.connection).toBe("reconnecting");
  await pass(LONGEST_RETRY_MS);
  expect(client.connection).toBe("connected");
  expect(opened).toBe(2);
  // It is recovered, and the server was not told that it leaves.
  expect(heard).toHaveLength(2);
  expect(JSON.parse(heard[1]!.slice(1))).toMatchObject({ pid: "p", offset: "7" });
});

test("a client whose WebSocket is lost before that goes on polling", async () => {
  const { client, websocket } = await probing();
  websocket.lose();
  await pass(10_000);
  expect(client.connection).toBe("connected");
  expect(opened).toBe(1);
});

test("a client that upgrades keeps its connection", async () => {
  const { client, websocket } = await probing();
  websocket.pong();
  polling.onPaused();
  await pass(10_000);
  expect(client.connection).toBe("connected");
  expect(opened).toBe(1);
});

test("a client that was closed in mid-upgrade stays closed when its WebSocket is lost", async () => {
  const { client, socket, websocket } = await probing();
  websocket.pong();
  client.ask(client.newChat(), "Hi!", { provider: "local" }); // it waits for the upgrade
  const { engine } = socket.io;
  client.close();
  websocket.lose();
  expect(engine).toMatchObject({ readyState: "closed" });
  await pass(600_000);
  expect(opened).toBe(1);
});

test("a client whose polling is lost in mid-upgrade comes back no sooner", async () => {
  const { client, websocket } = await probing();
  websocket.pong();
  polling.lose();
  websocket.lose();
  await pass(400);
  expect(opened).toBe(1);
  await pass(LONGEST_RETRY_MS);
  expect(client.connection).toBe("connected");
  expect(opened).toBe(2);
});

test("a client that was sent away in mid-upgrade comes back no sooner", async () => {
  const { client, websocket } = await probing();
  websocket.pong();
  polling.say("1");
  await pass();
  websocket.lose();
  await pass(1000);
  expect(opened).toBe(1);
  await pass(1000);
  expect(client.connection).toBe("connected");
  expect(opened).toBe(2);
});
