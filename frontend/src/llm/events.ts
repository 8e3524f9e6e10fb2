/** The events of the server's Socket.IO API, and the part of a socket that is used here. */
import type { Socket } from "socket.io-client";

import type { BudgetNotice, ChatMessage, Usage } from "./types";

interface AnyEnd {
  /** The end came late, after much else: its text is left out, and must be asked for. */
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
  /** The id of the stored question; not every server sends it. */
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
  /** US dollars; not every server sends it. */
  cost?: string | null;
}

export interface ErrorEvent extends Partial<Place>, AnyEnd {
  /** Null if the request had no readable one. */
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
  /** The stored message that the last message replaces, with everything after it. */
  replaces?: string;
}

export type AttachRequest =
  | { messageId: string }
  | { sessionId: string }
  | { conversationId: string };

/** The text so far; the rest arrives as events, unless the answer has ended. */
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

/** The part of a socket of `socket.io-client` that is used here. */
export type ChatSocket = Pick<
  Socket<ServerEvents, ClientEvents>,
  "active" | "connect" | "connected" | "disconnect" | "emit" | "off" | "on" | "recovered"
> & { io: { engine: Engine; on: (event: "open", listener: () => void) => unknown } };

/** The part of a connection of `engine.io-client` that is used here. */
export interface Engine {
  close: () => unknown;
  on: (event: "upgradeError", listener: () => void) => unknown;
  /** Whether it has stopped polling, and does not use its WebSocket yet. */
  upgrading?: boolean;
  transport: { emit: (event: "close") => unknown };
  /** The server's limit in bytes; the library has no public name for it. */
  _maxPayload?: number;
  /** Its name before socket.io-client 4.8. */
  maxPayload?: number;
}
