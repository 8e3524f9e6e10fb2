/**
 * One socket for a page, and any number of chats on it.
 *
 * Chats are addressed by their keys. An answer continues while another chat is shown, and
 * is attached to again after a lost connection or a reload.
 */
import { newMessage } from "./chat";
import { Connection, type OpenSocket } from "./connection";
import { listStreams } from "./conversations";
import type { ChatSocket, StreamRequest } from "./events";
import { Reader } from "./reader";
import { newSessionId } from "./run";
import { isLoggedIn } from "./session";
import { ChatStore } from "./store";
import { Streams } from "./streams";
import { Tabs } from "./tabs";
import {
  historyOf,
  isUnread,
  lastOptions,
  mayBeInstructed,
  placeOf,
  settingsOf,
  wasReplacedElsewhere,
} from "./turns";
import type {
  Activity,
  AskOptions,
  BudgetNotice,
  Chat,
  ConnectionState,
  Message,
  Problem,
} from "./types";

const LOOK_EVERY_MS = 5000;
const GO_ON = "Continue.";

export interface ClientOptions {
  /** Called when the server rejects both tokens: the user must log in again. */
  onLoggedOut?: () => void;
  /** Opens a socket; tests pass their own function. */
  openSocket?: OpenSocket;
}

export class LLMClient {
  /** For `useSyncExternalStore`, like the getters below. */
  readonly subscribe: (listener: () => void) => () => void;
  readonly #store = new ChatStore();
  readonly #streams: Streams;
  readonly #connection: Connection;
  /** The options of the last question of each chat, by key. */
  readonly #options = new Map<string, AskOptions>();
  /** The stored message that the next question replaces, by the chat's key. */
  readonly #replaced = new Map<string, string>();
  readonly #reader: Reader;
  readonly #tabs = new Tabs((conversationId) => this.#onBegunElsewhere(conversationId));
  #lookTimer: ReturnType<typeof setTimeout> | undefined;
  #count = 0;

  constructor({ onLoggedOut = () => undefined, openSocket }: ClientOptions = {}) {
    this.subscribe = this.#store.subscribe;
    const listener = {
      onSocket: (socket: ChatSocket) => this.#streams.listen(socket),
      onConnect: (recovered: boolean) => this.#onConnect(recovered),
      onChange: () => this.#store.notify(),
      onLoggedOut,
    };
    this.#connection = new Connection(listener, openSocket);
    this.#streams = new Streams(this.#store, this.#connection, {
      onStarted: (key) => this.#replaced.delete(key),
      onBegun: (conversationId) => this.#tabs.tell(conversationId),
      onLost: (run) => void this.#reader.readLost(run),
    });
    this.#reader = new Reader(this.#store, {
      onRunning: (key, messageId) => this.#streams.resume(key, messageId),
      onLoggedOut,
    });
  }

  /** Connects. All other methods can be called before this one. */
  open(): void {
    this.#tabs.open();
    this.#connection.open();
  }

  /**
   * Disconnects. The client can be opened again and then receives its answers, which
   * continue without a reader for a while. With `stop`, or if the user has logged out, they
   * end; `leaves` is for a caller that knows of the log-out before the tokens are removed.
   */
  close({ stop = false, leaves = !isLoggedIn() } = {}): void {
    if (stop) this.#streams.stopAll();
    clearTimeout(this.#lookTimer);
    this.#tabs.close();
    this.#connection.close({ leaves: stop || leaves });
  }

  get connection(): ConnectionState {
    return this.#connection.state;
  }

  /** Why the server refuses the connection, while it does. */
  get connectionProblem(): Problem | null {
    return this.#connection.problem;
  }

  /** Which conversations are being answered, from other tabs as well, and which were. */
  get activity(): readonly Activity[] {
    return this.#store.activity;
  }

  /** The server's notice of a budget that is nearly used up, until it is dismissed. */
  get budgetNotice(): BudgetNotice | null {
    return this.#store.budgetNotice;
  }

  dismissBudgetNotice(): void {
    this.#store.dismissBudgetNotice();
  }

  getChat(key: string): Chat | undefined {
    return this.#store.get(key);
  }

  /** Begins an empty chat. Returns its key. */
  newChat(): string {
    const key = this.#newKey("chat");
    this.#store.add(key);
    return key;
  }

  /**
   * Loads a stored conversation, and attaches to the answer that is being written. Returns
   * the key of its chat without waiting for that.
   */
  openChat(conversationId: string): string {
    const key = this.#store.find(conversationId)?.key ?? this.newChat();
    void this.#reader.load(key, conversationId);
    return key;
  }

  /**
   * Reads a chat again, to get the questions of other tabs and the costs. A chat that is
   * being answered, or has a question that the server has not taken, stays as it is.
   */
  reload(key: string): void {
    const conversationId = this.#store.get(key)?.conversationId;
    if (conversationId) void this.#reader.load(key, conversationId);
  }

  /** Drops a chat from memory; its answer continues. */
  forget(key: string): void {
    this.#streams.forget(key);
    this.#options.delete(key);
    this.#replaced.delete(key);
    this.#store.remove(key);
    void this.lookForStreams();
  }

  /** Returns false, and does nothing, if the chat is not loaded or is being answered. */
  ask(key: string, text: string, options: AskOptions): boolean {
    const chat = this.#store.get(key);
    return chat !== undefined && this.#ask(chat, chat.messages.length, text, options);
  }

  /** Whether a question is short enough for the server. */
  takes(text: string): boolean {
    return this.#connection.takes(text);
  }

  stop(key: string): void {
    this.#streams.stop(key);
  }

  /** Asks the last question again, in place of its answer. */
  regenerate(key: string, options?: AskOptions): boolean {
    const chat = this.#store.get(key);
    const question = chat?.messages.filter(({ role }) => role === "user").at(-1);
    if (chat === undefined || question === undefined) return false;
    const isReplacing = this.#replaced.has(key);
    if (isReplacing && wasReplacedElsewhere(chat)) return this.#askAnew(key, question, options);
    return this.edit(key, question.key, question.content, options);
  }

  /** Asks the last question again, because its answer failed. */
  retry(key: string, options?: AskOptions): boolean {
    return this.regenerate(key, options);
  }

  /** Asks a question again with another text; everything after it is replaced. */
  edit(key: string, messageKey: string, text: string, options?: AskOptions): boolean {
    const chat = this.#store.get(key);
    const index = chat?.messages.findIndex((message) => message.key === messageKey) ?? -1;
    if (chat === undefined || chat.messages[index]?.role !== "user") return false;
    return this.#ask(chat, index, text, options);
  }

  /** Lets the model continue an answer that stopped at its length limit. */
  continueAnswer(key: string, options?: AskOptions): boolean {
    const chat = this.#store.get(key);
    return chat !== undefined && this.#ask(chat, chat.messages.length, GO_ON, options);
  }

  /** Asks the server which answers are being written, for `activity`. */
  async lookForStreams(): Promise<void> {
    clearTimeout(this.#lookTimer);
    try {
      const streams = await listStreams();
      this.#store.noteStreams(streams.map(({ conversationId }) => conversationId));
    } catch {
      return; // the next connection asks again
    }
    const isOther = ({ running, chatKey }: Activity) => running && chatKey === null;
    if (this.#connection.socket === null || !this.activity.some(isOther)) return;
    this.#lookTimer = setTimeout(() => void this.lookForStreams(), LOOK_EVERY_MS);
  }

  #onConnect(recovered: boolean): void {
    this.#streams.onConnect(recovered);
    void this.lookForStreams();
  }

  #onBegunElsewhere(conversationId: string): void {
    const chat = this.#store.find(conversationId);
    if (chat !== undefined) void this.#reader.loadChanged(chat.key, conversationId);
    void this.lookForStreams();
  }

  /** Asks at `index`, in place of the message there and everything after it. */
  #ask(chat: Chat, index: number, text: string, given?: AskOptions): boolean {
    const options = given ?? this.#options.get(chat.key) ?? lastOptions(chat);
    if (chat.running || chat.loading || isUnread(chat)) return false;
    if (text.trim() === "" || !options) return false;
    this.#options.set(chat.key, options);
    const place = placeOf(chat, index, this.#replaced.get(chat.key));
    if (place.replaces !== undefined) this.#replaced.set(chat.key, place.replaces);
    const kept = this.#kept(chat, index, options);
    const question = { content: text, role: "user" as const };
    const request: StreamRequest = {
      sessionId: newSessionId(),
      messages: [...historyOf(kept), question],
      ...settingsOf(options),
      ...place,
    };
    this.#show(chat, kept, text, request);
    this.#streams.begin(chat.key, request);
    return true;
  }

  /** Asks at the question's place in the stored messages, which another tab changed. */
  #askAnew(key: string, { key: questionKey, content }: Message, options?: AskOptions): boolean {
    const chat = this.#store.get(key);
    if (!chat?.conversationId || chat.loading) return false;
    const { conversationId } = chat;
    const index = chat.messages.findIndex((message) => message.key === questionKey);
    this.#store.change(key, { type: "loading", conversationId });
    void this.#reader.read(key, conversationId, chat.messages, true).then(() => {
      const now = this.#store.get(key);
      if (now === undefined || wasReplacedElsewhere(now)) return;
      this.#replaced.delete(key);
      const isThere = now.messages[index]?.role === "user";
      this.#ask(now, isThere ? index : now.messages.length, content, options);
    });
    this.#store.notify();
    return true;
  }

  #show(chat: Chat, kept: Message[], text: string, request: StreamRequest): void {
    const { sessionId, provider } = request;
    const at = Date.now();
    const question = { ...this.#newMessage("user", text), createdAt: at };
    const answer = { ...this.#newMessage("assistant", ""), provider };
    const messages = { question, answer: { ...answer, state: "streaming" as const } };
    if (request.conversationId === undefined) this.#store.change(chat.key, { type: "forked" });
    this.#store.change(chat.key, { type: "asked", sessionId, kept, ...messages, at });
    this.#store.notify();
  }

  /** The messages that stay; instructions are added only to a chat not yet stored. */
  #kept(chat: Chat, index: number, { instructions }: AskOptions): Message[] {
    const kept = chat.messages.slice(0, index);
    if (!mayBeInstructed(chat, kept)) return kept;
    const asked = kept.filter(({ role }) => role !== "system");
    if (!instructions?.trim()) return asked;
    return [this.#newMessage("system", instructions), ...asked];
  }

  #newMessage(role: Message["role"], content: string): Message {
    return newMessage(this.#newKey(role), role, content);
  }

  #newKey(kind: string): string {
    this.#count += 1;
    return `${kind}-${this.#count}`;
  }
}
