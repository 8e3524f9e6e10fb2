/** The events of the server's Socket.IO API, and the part of a socket that is used. */
import type { Socket } from "socket.io-client";

import type { BudgetNotice, ChatMessage, Usage } from "./types";

interface AnyEnd {
  /** It came late, after much else: its text is empty, and is to be asked for. */
  shortened?: boolean;
  budgetNotice?: BudgetNotice;
}

/** Where an answer is stored. */
interface Place {
  conversationId: string;
  messageId: string;
}

export interface StartEvent extends Place {
  sessionId: string;
  provider: string;
  model: string;
  /** The stored question; not every server tells. */
  questionId?: string;
}

export interface TokenEvent {
  sessionId: string;
  token: string;
}

export interface DoneEvent extends Place, AnyEnd {
  sessionId: string;
  provider: string;
  model: string;
  fullResponse: string;
  tokenCount: number | null;
  finishReason: string;
  usage: Usage;
  /** US dollars; not every server tells. */
  cost?: string | null;
}

export interface ErrorEvent extends Partial<Place>, AnyEnd {
  /** Null if the request had none that could be read. */
  sessionId: string | null;
  error: string;
  code: string;
  /** Seconds. */
  retryAfter?: number;
  partialResponse?: string;
}

export interface CancelledEvent extends Place, AnyEnd {
  sessionId: string;
  partialResponse?: string;
}

/** How a stream ends: exactly one of these. */
export type End =
  | { event: "llm:stream:done"; data: DoneEvent }
  | { event: "llm:stream:error"; data: ErrorEvent }
  | { event: "llm:stream:cancelled"; data: CancelledEvent };

export interface ServerEvents {
  "llm:stream:start": (event: StartEvent) => void;
  "llm:stream:token": (event: TokenEvent) => void;
  "llm:stream:done": (event: DoneEvent) => void;
  "llm:stream:error": (event: ErrorEvent) => void;
  "llm:stream:cancelled": (event: CancelledEvent) => void;
}

export interface StreamRequest {
  sessionId: string;
  provider: string;
  messages: ChatMessage[];
  model?: string;
  temperature?: number;
  maxTokens?: number;
  conversationId?: string;
  /** The stored message that the last one replaces, with everything behind it. */
  replaces?: string;
}

export type AttachRequest =
  | { messageId: string }
  | { sessionId: string }
  | { conversationId: string };

/** The text so far; what follows it comes as events, unless it has ended. */
export type Attached = StartEvent & { ok: true; text: string; ended?: End };

export type AttachAnswer = Attached | { ok: false; error: string; code: string };

export type CancelAnswer =
  | { ok: true }
  | { ok: false; error: string; code: string; retryAfter?: number };

export interface ClientEvents {
  "llm:chat:stream": (request: StreamRequest) => void;
  "llm:stream:cancel": (
    request: { sessionId: string },
    ack: (answer: CancelAnswer) => void,
  ) => void;
  "llm:stream:attach": (
    request: AttachRequest,
    ack: (answer: AttachAnswer) => void,
  ) => void;
}

/** The server's CONNECT_ERROR. */
export interface Refusal extends Error {
  data?: { code?: string; retryAfter?: number };
}

/** What is used of a socket of `socket.io-client`. */
export type ChatSocket = Pick<
  Socket<ServerEvents, ClientEvents>,
  "active" | "connect" | "connected" | "disconnect" | "emit" | "off" | "on" | "recovered"
> & { io: { engine: Engine } };

interface Engine {
  close: () => unknown;
  /** Bytes, as the server has said; the library has no public name for it. */
  _maxPayload?: number;
  /** Its name before socket.io-client 4.8. */
  maxPayload?: number;
}
