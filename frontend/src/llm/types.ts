/** What a chat is: messages, the answer that is being written, and what went wrong. */

export type Role = "system" | "user" | "assistant";

/** A message as it is sent to a model. */
export interface ChatMessage {
  role: Role;
  content: string;
}

/** How an answer ended, or that it is being written; questions are `complete`. */
export type MessageState =
  | "streaming"
  | "complete"
  | "cancelled"
  | "error"
  | "interrupted";

export interface Usage {
  inputTokens: number | null;
  outputTokens: number | null;
  reasoningTokens?: number | null;
  source?: string;
}

/** What went wrong, in words for a person and a code for a program. */
export interface Problem {
  code: string;
  text: string;
  /** When another try makes sense, in milliseconds since the epoch. */
  retryAt?: number;
}

/** A message of a chat. What is null is not known, or is no property of a question. */
export interface Message extends ChatMessage {
  /** Stable while the page lives; React's key. */
  key: string;
  /** The server's id, null until it is known. */
  id: string | null;
  state: MessageState;
  provider: string | null;
  model: string | null;
  finishReason: string | null;
  usage: Usage | null;
  /** US dollars as a decimal number. */
  cost: string | null;
  /** Milliseconds since the epoch; when the question was sent or the answer ended. */
  createdAt: number | null;
  /** How long the answer took, from question to end. */
  durationMs: number | null;
  /** Why an answer failed. */
  problem: Problem | null;
}

/** The answer that is being written; its text is that of the last message. */
export interface Running {
  sessionId: string;
  messageId: string | null;
  phase: "waiting" | "writing" | "stopping" | "resuming";
  startedAt: number;
}

/** One conversation as a page shows it. */
export interface Chat {
  /** Stable while the page lives, also before the server has given `conversationId`. */
  key: string;
  conversationId: string | null;
  /** The last one is the answer that is being written, if `running` is not null. */
  messages: Message[];
  running: Running | null;
  /** What keeps the chat from being loaded; an answer's problem is in its message. */
  problem: Problem | null;
  loading: boolean;
}

export type ConnectionState =
  | "connecting"
  | "connected"
  | "reconnecting"
  /** The browser says that there is no network. */
  | "offline";

/** Where and how a question is to be answered. */
export interface AskOptions {
  provider: string;
  model?: string;
  /** Own instructions, sent as the first message of the history. */
  instructions?: string;
  temperature?: number;
  maxTokens?: number;
}
