/**
 * The answers that chats wait for: asks, receives and stops them, and attaches again after
 * a lost connection. Events of a session that no chat waits for are ignored.
 */
import { Batch } from "./batch";
import type { Connection } from "./connection";
import type {
  AttachAnswer,
  Attached,
  CancelAnswer,
  ChatSocket,
  End,
  ErrorEvent,
  StartEvent,
  StreamRequest,
} from "./events";
import { problem } from "./problems";
import { newRun, type Run } from "./run";
import type { ChatStore } from "./store";
import type { Problem } from "./types";

// How long to wait for a start event, which the server sends once the question is stored.
const NO_ANSWER_MS = 15_000;
const LATER_MS = 3000;
const MOST_TRIES = 5;
// How many messages the server takes in one question.
const MOST_MESSAGES = 1000;
const TOO_LARGE = "The conversation is too long for the server.";

export interface StreamsListener {
  onStarted: (chatKey: string) => void;
  /** Called when the server has taken a question of this page. */
  onBegun: (conversationId: string) => void;
  /** Called when the server does not know an answer for which a chat still waits. */
  onLost: (run: Run) => void;
}

export class Streams {
  readonly #runs = new Map<string, Run>();
  readonly #batch = new Batch((texts) => this.#write(texts));
  readonly #store: ChatStore;
  readonly #connection: Connection;
  readonly #listener: StreamsListener;

  constructor(store: ChatStore, connection: Connection, listener: StreamsListener) {
    this.#store = store;
    this.#connection = connection;
    this.#listener = listener;
  }

  /** Asks now, or as soon as there is a connection. */
  begin(chatKey: string, request: StreamRequest): void {
    const run = newRun(chatKey, request);
    this.#runs.set(chatKey, run);
    this.#connection.renewIfExpired();
    this.#send(run);
  }

  /** Attaches to an answer that was begun elsewhere, or before a reload. */
  resume(chatKey: string, messageId: string): void {
    const run = newRun(chatKey, null, messageId);
    this.#runs.set(chatKey, run);
    this.#attach(run);
  }

  stop(chatKey: string): void {
    const run = this.#runs.get(chatKey);
    if (run === undefined) return;
    if (run.request !== null && !run.sent) {
      this.#withdraw(run);
      return;
    }
    this.#store.change(chatKey, { type: "stopping" });
    this.#cancel(run);
    this.#store.notify();
  }

  /** Stops waiting for the answer, which continues. */
  forget(chatKey: string): void {
    const run = this.#runs.get(chatKey);
    if (run !== undefined) this.#drop(run);
  }

  /** Stops all answers that were begun here. */
  stopAll(): void {
    for (const run of [...this.#runs.values()]) {
      if (run.request !== null) this.stop(run.chatKey);
    }
  }

  listen(socket: ChatSocket): void {
    socket.on("llm:stream:start", (start) => this.#onStart(start));
    socket.on("llm:stream:token", (event) => this.#batch.add(event.sessionId, event.token));
    socket.on("llm:stream:done", (data) => this.#onEnd({ event: "llm:stream:done", data }));
    socket.on("llm:stream:cancelled", (data) =>
      this.#onEnd({ event: "llm:stream:cancelled", data }),
    );
    socket.on("llm:stream:error", (data) => this.#onError(data));
  }

  /** Called for each connection; if it is recovered, missed events arrive by themselves. */
  onConnect(recovered: boolean): void {
    for (const run of [...this.#runs.values()]) {
      run.heard &&= recovered;
      if (run.request !== null && !run.sent) this.#send(run);
      else if (!run.heard) this.#attach(run, recovered);
      else if (this.#isStopping(run)) this.#cancel(run);
    }
    this.#store.notify();
  }

  #send(run: Run): void {
    const { socket } = this.#connection;
    if (socket === null || run.request === null) return;
    if (this.#isStopping(run)) {
      this.#withdraw(run); // the server does not have it
      return;
    }
    const isLong = run.request.messages.length > MOST_MESSAGES;
    if (isLong || !this.#connection.takes(run.request)) {
      this.#fail(run, problem("payload_too_large", TOO_LARGE));
      return;
    }
    run.sent = true;
    socket.emit("llm:chat:stream", run.request);
    this.#later(run, NO_ANSWER_MS);
  }

  #withdraw(run: Run): void {
    this.#drop(run);
    this.#store.change(run.chatKey, { type: "withdrawn", at: Date.now() });
    this.#store.notify();
  }

  #cancel(run: Run): void {
    const { sessionId } = run;
    if (sessionId === null) return;
    this.#connection.socket?.emit("llm:stream:cancel", { sessionId }, (answer) => {
      if (this.#isCurrent(run)) this.#onCancel(run, answer);
    });
  }

  /** Handles the ack. Only a failure matters: an end also arrives as an event. */
  #onCancel(run: Run, answer: CancelAnswer): void {
    if (answer.ok || answer.code === "stream_not_found") return;
    const why = problem(answer.code, answer.error, answer.retryAfter);
    this.#store.change(run.chatKey, { type: "not stopped", problem: why });
    this.#store.notify();
  }

  /** `mayResend` if an answer that the server does not know was lost on the way. */
  #attach(run: Run, mayResend = false): void {
    const { socket } = this.#connection;
    const name = nameOf(run);
    if (socket === null || name === null) return;
    clearTimeout(run.timer);
    this.#store.change(run.chatKey, { type: "resuming" });
    this.#store.notify();
    socket.emit("llm:stream:attach", name, (answer) => {
      if (this.#isCurrent(run)) this.#onAttach(run, answer, mayResend);
    });
  }

  #onAttach(run: Run, answer: AttachAnswer, mayResend: boolean): void {
    if (answer.ok) this.#onAttached(run, answer);
    else if (answer.code !== "stream_not_found") this.#attachLater(run, answer);
    else if (mayResend && run.request !== null && !run.resent) this.#resend(run);
    else this.#lose(run);
  }

  /** Sends the question again, but only once: it may itself be what breaks connections. */
  #resend(run: Run): void {
    run.resent = true;
    this.#send(run);
  }

  #onAttached(run: Run, { ended, text, ...start }: Attached): void {
    this.#batch.drop(start.sessionId);
    run.sessionId = start.sessionId;
    run.tries = 0;
    this.#note(run, start);
    this.#store.change(run.chatKey, { type: "attached", start, text });
    if (ended !== undefined) {
      this.#noteBudget(ended);
      this.#end(run, ended);
    } else if (this.#isStopping(run)) this.#cancel(run);
    this.#store.notify();
  }

  #attachLater(run: Run, why: { error: string; code: string }): void {
    run.tries += 1;
    if (run.tries <= MOST_TRIES) {
      this.#later(run, LATER_MS);
      return;
    }
    this.#fail(run, problem(why.code, why.error));
  }

  #fail(run: Run, why: Problem): void {
    this.#drop(run);
    this.#store.change(run.chatKey, { type: "failed", problem: why, at: Date.now() });
    this.#store.notify();
  }

  #later(run: Run, delayMs: number): void {
    clearTimeout(run.timer);
    run.timer = setTimeout(() => this.#attach(run), delayMs);
  }

  #onStart(start: StartEvent): void {
    const run = this.#find(start.sessionId);
    if (run === undefined) return;
    this.#note(run, start);
    this.#store.change(run.chatKey, { type: "started", start });
    if (run.request !== null) this.#listener.onBegun(start.conversationId);
    this.#store.notify();
  }

  #onEnd(end: End): void {
    this.#batch.flush();
    this.#noteBudget(end);
    const run = this.#find(end.data.sessionId);
    if (run !== undefined && end.data.shortened) this.#askForText(run);
    else if (run !== undefined) this.#end(run, end);
    this.#store.notify();
  }

  /** Budgets belong to the user, so a notice counts even if no chat waits for this end. */
  #noteBudget({ data }: End): void {
    if (data.budgetNotice !== undefined) this.#store.noteBudget(data.budgetNotice);
  }

  /** Attaches again, which returns the text of an ended answer, or finds it stored. */
  #askForText(run: Run): void {
    run.heard = false;
    this.#attach(run);
  }

  /** Handles an error event; one without a session belongs to no chat. */
  #onError(data: ErrorEvent): void {
    const run = this.#find(data.sessionId);
    if (run === undefined) {
      this.#onEnd({ event: "llm:stream:error", data });
    } else if (data.code === "stream_not_found") {
      this.#lose(run); // there is nothing to cancel
    } else if (data.code === "session_active") {
      this.#attach(run); // it was asked twice
    } else if (data.code === "token_expired" && !run.heard && !run.renewed) {
      run.renewed = true;
      run.sent = false;
      this.#connection.renew();
    } else {
      this.#onEnd({ event: "llm:stream:error", data });
    }
  }

  #write(texts: Map<string, string>): void {
    for (const [sessionId, text] of texts) {
      const run = this.#find(sessionId);
      if (run !== undefined) this.#store.change(run.chatKey, { type: "text", text });
    }
    this.#store.notify();
  }

  #note(run: Run, start: StartEvent): void {
    clearTimeout(run.timer);
    run.messageId = start.messageId;
    run.heard = true;
    this.#listener.onStarted(run.chatKey);
  }

  #end(run: Run, end: End): void {
    this.#drop(run);
    this.#store.change(run.chatKey, { type: "ended", end, at: Date.now() });
    // Deleted elsewhere: the shown messages can still be continued, by their history.
    const isGone = "code" in end.data && end.data.code === "conversation_not_found";
    if (isGone) this.#store.change(run.chatKey, { type: "forked" });
  }

  #lose(run: Run): void {
    this.#drop(run);
    this.#listener.onLost(run);
  }

  #drop(run: Run): void {
    clearTimeout(run.timer);
    if (run.sessionId !== null) this.#batch.drop(run.sessionId);
    if (this.#isCurrent(run)) this.#runs.delete(run.chatKey);
  }

  #find(sessionId: string | null): Run | undefined {
    if (sessionId === null) return undefined;
    for (const run of this.#runs.values()) if (run.sessionId === sessionId) return run;
    return undefined;
  }

  #isCurrent(run: Run): boolean {
    return this.#runs.get(run.chatKey) === run;
  }

  #isStopping(run: Run): boolean {
    return this.#store.get(run.chatKey)?.running?.phase === "stopping";
  }
}

function nameOf({ messageId, sessionId }: Run) {
  if (messageId !== null) return { messageId };
  return sessionId === null ? null : { sessionId };
}
