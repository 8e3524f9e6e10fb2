/** Reads stored conversations into the chats of a page. */
import { ApiError } from "./api";
import { readConversation } from "./conversations";
import { problem, storedProblem, toProblem } from "./problems";
import type { Run } from "./run";
import { isTokenError } from "./session";
import type { ChatStore } from "./store";
import { brokenOff, isOnlyHere, isStored } from "./turns";
import type { Message } from "./types";

const LOST = "The connection was lost before the server received the question.";

const ACTIVE = problem("conversation_active", "Another answer is still being written.");

export interface ReaderListener {
  /** Called with an answer that is still being written. */
  onRunning: (chatKey: string, messageId: string) => void;
  onLoggedOut: () => void;
}

export class Reader {
  /** The chats that are being read. */
  readonly #reading = new Set<string>();
  /** Those of them that have changed on the server since the reading began. */
  readonly #changed = new Set<string>();
  readonly #store: ChatStore;
  readonly #listener: ReaderListener;

  constructor(store: ChatStore, listener: ReaderListener) {
    this.#store = store;
    this.#listener = listener;
  }

  /** Loads a chat, unless it is being answered or has a question that is not stored. */
  async load(key: string, conversationId: string): Promise<void> {
    const shown = this.#store.get(key)?.messages ?? [];
    if (shown.some(isOnlyHere) || this.#reading.has(key)) return;
    this.#reading.add(key);
    if (shown.length === 0) this.#store.change(key, { type: "loading", conversationId });
    await null; // a component that calls this while rendering must not be notified then
    this.#store.notify();
    await this.read(key, conversationId, shown);
    this.#reading.delete(key);
    if (this.#changed.delete(key)) await this.load(key, conversationId);
  }

  /** Loads a chat that changed on the server; a running reading may miss the change. */
  async loadChanged(key: string, conversationId: string): Promise<void> {
    if (this.#reading.has(key)) this.#changed.add(key);
    else await this.load(key, conversationId);
  }

  /**
   * Shows the stored messages in place of the `shown` ones, unless something is asked in
   * the meantime. With `toAsk`, if another answer is being written, the question to ask
   * stays and gets a problem that says so.
   */
  async read(
    key: string,
    conversationId: string,
    shown: Message[],
    toAsk = false,
  ): Promise<void> {
    const isSame = () => this.#store.get(key)?.messages === shown; // nothing was asked
    try {
      const messages = await readConversation(conversationId);
      const waits = toAsk && messages.at(-1)?.state === "streaming";
      if (isSame() && waits) this.#store.change(key, { type: "put off", problem: ACTIVE });
      else if (isSame()) this.#showStored(key, conversationId, messages);
    } catch (error) {
      this.#noteLoggedOut(error);
      const isGone = (error as ApiError).status === 404;
      const isOld = shown.length > 0 && !isGone;
      const why = isOld ? null : toProblem(error);
      this.#store.change(key, { type: "not loaded", problem: why });
      // The shown messages can still be continued, by sending them as the history.
      if (isGone && shown.length > 0 && isSame()) this.#store.change(key, { type: "forked" });
    }
    this.#store.notify();
  }

  #showStored(key: string, conversationId: string, messages: Message[]): void {
    const event = { conversationId, messages, at: Date.now() };
    const running = this.#store.change(key, { type: "loaded", ...event })?.running;
    if (running?.messageId) this.#listener.onRunning(key, running.messageId);
  }

  /** Shows what is stored of an answer that the server no longer writes. */
  async readLost({ chatKey, request, messageId }: Run): Promise<void> {
    const chat = this.#store.get(chatKey);
    if (!chat?.running) return;
    const at = Date.now();
    const { conversationId } = chat;
    try {
      const stored = conversationId === null ? [] : await readConversation(conversationId);
      if (this.#store.get(chatKey)?.running !== chat.running) return;
      const isKnown = messageId !== null || isStored(request, chat, stored);
      if (conversationId === null || !isKnown) throw new ApiError(0, "connection_lost", LOST);
      const messages = stored.map(brokenOff);
      this.#store.change(chatKey, { type: "loaded", conversationId, messages, at });
    } catch (error) {
      this.#noteLoggedOut(error);
      const isGone = error instanceof ApiError && error.status === 404;
      const why = isGone ? storedProblem("interrupted") : toProblem(error);
      this.#store.change(chatKey, { type: "failed", problem: why, at });
      // The shown messages can still be continued, by sending them as the history.
      if (isGone) this.#store.change(chatKey, { type: "forked" });
    }
    this.#store.notify();
  }

  #noteLoggedOut(error: unknown): void {
    if (isTokenError(error)) this.#listener.onLoggedOut();
  }
}
