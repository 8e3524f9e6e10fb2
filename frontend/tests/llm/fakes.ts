/** A socket and a REST API that tests play the server with. */
import { vi } from "vitest";

import { LLMClient } from "../../src/llm";
import type { OpenSocket } from "../../src/llm/connection";
import type { ChatSocket } from "../../src/llm/events";

type Listener = (...args: never[]) => void;
type Sent = [event: string, payload: Record<string, unknown>, ack?: (answer: unknown) => void];

/** Speaks as the server does, when a test tells it to. */
export class FakeSocket {
  connected = false;
  active = true;
  recovered = false;
  closed = false;
  /** Whether the server was told that the client leaves for good. */
  left = false;
  /** The token of each connection. */
  tokens: (string | undefined)[] = [];
  sent: Sent[] = [];
  readonly io: ChatSocket["io"] = {
    engine: { close: () => this.lose(), on: () => {}, transport: { emit: () => {} } },
    on: () => {},
  };
  #wantsAuth = 0;
  readonly #listeners = new Map<string, Listener>();
  readonly #auth: Parameters<OpenSocket>[0];

  constructor(auth: Parameters<OpenSocket>[0]) {
    this.#auth = auth;
    this.connect();
  }

  on(event: string, listener: Listener): void {
    this.#listeners.set(event, listener);
  }
  off(): void {
    this.#listeners.clear();
  }
  emit(...sent: Sent): void {
    if (!this.connected) throw new Error("emitted without a connection");
    this.sent.push(sent);
  }
  connect(): void {
    this.active = true;
    const wanted = ++this.#wantsAuth;
    queueMicrotask(() => {
      if (wanted === this.#wantsAuth) this.#auth(({ token }) => this.tokens.push(token));
    });
  }
  disconnect(): this {
    this.left ||= this.connected;
    this.closed = true;
    this.connected = this.active = false;
    this.#wantsAuth += 1;
    return this;
  }

  accept(recovered = false): void {
    this.recovered = recovered;
    this.connected = true;
    this.receive("connect");
  }
  refuse(code: string): void {
    this.active = false;
    this.receive("connect_error", Object.assign(new Error("No"), { data: { code } }));
  }
  /** The transport breaks; like the real one, it tries again by itself. */
  lose(): void {
    this.connected = false;
    this.receive("disconnect", "transport close");
    this.connect();
  }
  receive(event: string, data?: unknown): void {
    (this.#listeners.get(event) as ((data: unknown) => void) | undefined)?.(data);
  }

  sentOf(event: string): Record<string, unknown>[] {
    return this.sent.filter(([name]) => name === event).map(([, payload]) => payload);
  }
  get asked(): Record<string, unknown>[] {
    return this.sentOf("llm:chat:stream");
  }
  get lastSessionId(): string {
    return this.asked.at(-1)?.["sessionId"] as string;
  }
  answerAttach(answer: unknown): void {
    this.#acknowledge("llm:stream:attach", answer);
  }
  answerCancel(answer: unknown): void {
    this.#acknowledge("llm:stream:cancel", answer);
  }
  #acknowledge(event: string, answer: unknown): void {
    const sent = this.sent.filter(([name]) => name === event);
    sent.at(-1)?.[2]?.(answer);
  }

  // What the server says of an answer, by default the last one.
  start(sessionId = this.lastSessionId, ids: object = {}): void {
    this.receive("llm:stream:start", { ...startOf(sessionId), ...ids });
  }
  token(token: string, sessionId = this.lastSessionId): void {
    this.receive("llm:stream:token", { sessionId, token });
  }
  done(fullResponse: string, sessionId = this.lastSessionId): void {
    this.receive("llm:stream:done", { ...startOf(sessionId), ...END, fullResponse });
  }
  cancelled(partialResponse: string, sessionId = this.lastSessionId): void {
    this.receive("llm:stream:cancelled", { ...startOf(sessionId), partialResponse });
  }
  fail(code: string, fields: object = {}, sessionId = this.lastSessionId): void {
    this.receive("llm:stream:error", { sessionId, error: `${code}!`, code, ...fields });
  }
}

const END = { finishReason: "stop", tokenCount: 2, usage: { inputTokens: 1, outputTokens: 2 } };

export function startOf(sessionId: string) {
  const place = { conversationId: "c1", messageId: "a1" };
  return { sessionId, provider: "local", model: "small", ...place };
}

/** The sockets that clients have opened, the newest last. */
export const sockets: FakeSocket[] = [];

export const openSocket: OpenSocket = (auth) => {
  const socket = new FakeSocket(auth);
  sockets.push(socket);
  return socket as unknown as ChatSocket;
};

export function socket(): FakeSocket {
  const newest = sockets.at(-1);
  if (newest === undefined) throw new Error("No client has opened a socket.");
  return newest;
}

/** What tabs tell one another, at once. */
class FakeChannel {
  static readonly all = new Set<FakeChannel>();
  onmessage: ((event: { data: unknown }) => void) | null = null;

  constructor(readonly name: string) {
    FakeChannel.all.add(this);
  }
  postMessage(data: unknown): void {
    for (const other of FakeChannel.all) {
      if (other !== this && other.name === this.name) other.onmessage?.({ data });
    }
  }
  close(): void {
    FakeChannel.all.delete(this);
  }
}

/** What is stored: each list is a conversation's messages. */
export const stored = new Map<string, object[]>();
/** The bodies of `GET /llm/streams`. */
export const running: { conversationId: string }[] = [];
export const requests: string[] = [];

export function storedMessage(id: string, role: string, content: string, fields = {}) {
  const nulls = { provider: null, model: null, finishReason: null, usage: null };
  const message = { id, role, content, state: "complete", code: null, cost: null };
  return { ...message, ...nulls, createdAt: "2026-01-01T00:00:00Z", ...fields };
}

/** An access token that expires then, in seconds since the epoch. */
function token(exp: number): string {
  return `e30.${btoa(JSON.stringify({ exp }))}.e30`;
}

export const FRESH = token(5_000_000_000);
export const NEW = token(9_000_000_000);

/** A fresh browser, logged in. Called before each test. */
export function reset(): void {
  vi.useFakeTimers({ now: 1_000_000 });
  sockets.length = running.length = requests.length = 0;
  stored.clear();
  FakeChannel.all.clear();
  vi.stubGlobal("BroadcastChannel", FakeChannel);
  localStorage.clear();
  localStorage.setItem("jwt_token", FRESH);
  localStorage.setItem("jwt_refresh_token", "refresh");
  const locks = { request: (_name: string, work: () => unknown) => work() };
  Object.defineProperty(navigator, "locks", { value: locks, configurable: true });
  vi.stubGlobal("fetch", (path: string) => Promise.resolve(answer(path)));
}

/** Called after each test. */
export function restore(): void {
  vi.useRealTimers();
  vi.unstubAllGlobals();
}

function answer(path: string): Response {
  requests.push(path);
  if (path === "/llm/streams") return Response.json({ streams: running });
  if (path === "/auth/token/refresh") {
    return Response.json({ access: NEW, refresh: "next" });
  }
  const messages = stored.get(path.replace("/llm/conversations/", ""));
  if (messages !== undefined) return Response.json({ messages, cursor: null });
  return Response.json({ error: "Not there", code: "conversation_not_found" }, { status: 404 });
}

/** Lets promises settle, and frames and timers that are due pass. */
export async function pass(ms = 20): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
}

/** A client that is connected, with an empty chat. */
export async function connectedClient() {
  const client = new LLMClient({ openSocket });
  client.open();
  await pass();
  socket().accept();
  await pass();
  const key = client.newChat();
  const chat = () => {
    const found = client.getChat(key);
    if (found === undefined) throw new Error("The chat is forgotten.");
    return found;
  };
  return { client, key, chat };
}
