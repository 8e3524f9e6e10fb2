/** How each event changes a chat: a reducer, without I/O. */
import type { End, StartEvent } from "./events";
import { problem } from "./problems";
import type { Chat, Message, Phase, Problem, Role } from "./types";

export type ChatEvent =
  /** A question is asked after the messages `kept`; an empty answer follows it. */
  | {
      type: "asked";
      sessionId: string;
      kept: Message[];
      question: Message;
      answer: Message;
      at: number;
    }
  | { type: "started"; start: StartEvent }
  | { type: "text"; text: string }
  /** The server's text so far replaces that of the chat. */
  | { type: "attached"; start: StartEvent; text: string }
  | { type: "resuming" }
  | { type: "stopping" }
  /** The server cannot stop it now; it may continue. */
  | { type: "not stopped"; problem: Problem }
  | { type: "ended"; end: End; at: number }
  | { type: "failed"; problem: Problem; at: number }
  /** The question was stopped before the server received it. */
  | { type: "withdrawn"; at: number }
  | { type: "loading"; conversationId: string }
  | { type: "loaded"; conversationId: string; messages: Message[]; at: number }
  | { type: "not loaded"; problem: Problem | null }
  /** The question that failed cannot be asked again yet. */
  | { type: "put off"; problem: Problem }
  /** The chat no longer belongs to a stored conversation. */
  | { type: "forked" };

const RESUMED = { sessionId: null, phase: "resuming" as const, problem: null };
const NOT_LOADING = { loading: false, problem: null };

export function emptyChat(key: string): Chat {
  return {
    key,
    conversationId: null,
    messages: [],
    running: null,
    problem: null,
    loading: false,
    endedAt: null,
  };
}

export function newMessage(key: string, role: Role, content: string): Message {
  return {
    ...{ key, role, content },
    state: "complete",
    ...{ id: null, provider: null, model: null, finishReason: null, usage: null },
    ...{ cost: null, createdAt: null, durationMs: null, problem: null },
  };
}

export function reduceChat(chat: Chat, event: ChatEvent): Chat {
  switch (event.type) {
    case "asked":
      return asked(chat, event);
    case "started":
      return started(chat, event.start);
    case "text":
      return written(chat, event.text);
    case "attached":
      return attached(chat, event.start, event.text);
    case "resuming":
      return inPhase(chat, "resuming");
    case "stopping":
      return inPhase(chat, "stopping");
    case "not stopped":
      return notStopped(chat, event.problem);
    case "ended":
      return ended(chat, endOf(event.end), event.at);
    case "failed":
      return ended(chat, { state: "error", problem: event.problem }, event.at);
    case "withdrawn":
      return ended(chat, { state: "cancelled" }, event.at);
    case "loading":
      return { ...chat, conversationId: event.conversationId, loading: true, problem: null };
    case "loaded":
      return loaded(chat, event);
    case "not loaded":
      return { ...chat, loading: false, problem: event.problem };
    case "put off":
      return putOff(chat, event.problem);
    case "forked":
      return { ...chat, conversationId: null };
  }
}

function asked(chat: Chat, event: ChatEvent & { type: "asked" }): Chat {
  const { sessionId, kept, question, answer, at } = event;
  return {
    ...chat,
    messages: [...kept, question, answer],
    running: { sessionId, messageId: null, phase: "waiting", startedAt: at, problem: null },
    ...NOT_LOADING,
  };
}

function started(chat: Chat, start: StartEvent): Chat {
  if (chat.running === null) return chat;
  const { provider, model, messageId, conversationId, sessionId } = start;
  const running = { ...chat.running, sessionId, messageId };
  const messages = chat.messages.slice();
  change(messages, -1, { id: messageId, provider, model });
  if (start.questionId !== undefined) change(messages, -2, { id: start.questionId });
  return { ...chat, conversationId, running, messages };
}

function written(chat: Chat, text: string): Chat {
  if (chat.running === null) return chat;
  const messages = chat.messages.slice();
  change(messages, -1, { content: (messages.at(-1)?.content ?? "") + text });
  return inPhase({ ...chat, messages }, "writing");
}

function attached(chat: Chat, start: StartEvent, text: string): Chat {
  const known = started(chat, start);
  if (known.running === null) return known;
  const messages = known.messages.slice();
  change(messages, -1, { content: text });
  const phase = text === "" ? "waiting" : "writing";
  return inPhase({ ...known, messages }, phase);
}

/** Changes the phase, but not from "stopping": only the end or a failed stop does that. */
function inPhase(chat: Chat, phase: Phase): Chat {
  const { running } = chat;
  if (running === null || running.phase === phase || running.phase === "stopping") {
    return chat;
  }
  const problem = phase === "stopping" ? null : running.problem;
  return { ...chat, running: { ...running, phase, problem } };
}

function notStopped(chat: Chat, why: Problem): Chat {
  const { running, messages } = chat;
  if (running?.phase !== "stopping") return chat;
  const phase = messages.at(-1)?.content === "" ? "waiting" : "writing";
  return { ...chat, running: { ...running, phase, problem: why } };
}

/** Ends the answer, which keeps its text unless the end has another. */
function ended(chat: Chat, end: Partial<Message>, at: number): Chat {
  const { running } = chat;
  if (running === null) return chat;
  const messages = chat.messages.slice();
  // The time when it began may come from another machine's clock.
  const durationMs = Math.max(0, at - running.startedAt);
  change(messages, -1, { ...end, createdAt: at, durationMs });
  return { ...chat, messages, running: null, endedAt: at };
}

function endOf({ event, data }: End): Partial<Message> {
  switch (event) {
    case "llm:stream:done": {
      const { fullResponse, provider, model, messageId, finishReason, usage } = data;
      const named = { id: messageId, provider, model, finishReason, usage };
      const cost = data.cost ?? null;
      return { state: "complete", content: fullResponse, ...named, cost };
    }
    case "llm:stream:cancelled":
      return { state: "cancelled", ...partial(data.partialResponse) };
    case "llm:stream:error":
      return {
        state: "error",
        ...partial(data.partialResponse),
        problem: problem(data.code, data.error, data.retryAfter),
      };
  }
}

function partial(text: string | undefined): { content?: string } {
  return text === undefined ? {} : { content: text };
}

/** Shows what is stored; the caller attaches to an answer that is still being written. */
function loaded(chat: Chat, event: ChatEvent & { type: "loaded" }): Chat {
  const { conversationId, at } = event;
  const messages = withOldKeys(event.messages, chat.messages);
  const last = messages.at(-1);
  const startedAt = chat.running?.startedAt ?? messages.at(-2)?.createdAt ?? at;
  const running =
    last?.state === "streaming"
      ? { ...RESUMED, messageId: last.id, startedAt }
      : null;
  const endedAt = chat.running !== null && running === null ? at : chat.endedAt;
  return { ...chat, conversationId, messages, running, endedAt, ...NOT_LOADING };
}

function putOff(chat: Chat, why: Problem): Chat {
  const messages = chat.messages.slice();
  change(messages, -1, { problem: why });
  return { ...chat, messages, ...NOT_LOADING };
}

/** Lets messages that are already shown keep their keys, so that they are not redrawn. */
function withOldKeys(messages: Message[], shown: Message[]): Message[] {
  return messages.map((message, index) => {
    const old = shown[index];
    if (old?.role !== message.role) return message;
    const known = { ...message, key: old.key };
    return JSON.stringify(known) === JSON.stringify(old) ? old : known;
  });
}

function change(messages: Message[], at: -1 | -2, fields: Partial<Message>): void {
  const index = messages.length + at;
  const message = messages[index];
  if (message !== undefined) messages[index] = { ...message, ...fields };
}
