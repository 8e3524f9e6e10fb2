/** What a chat is: messages, the answer that is being written, and what went wrong. */

export type Role = "system" | "user" | "assistant";

/** A message as it is sent to a model. */
export interface ChatMessage {
  role: Role;
  content: string;
}

/** How an answer ended, or that it is being written; questions are always `complete`. */
export type MessageState =
  | "streaming"
  | "complete"
  | "cancelled"
  | "error"
  | "interrupted";

export interface Usage {
  inputTokens: number | null;
  outputTokens: number | null;
  /** Part of the output. */
  reasoningTokens?: number | null;
  /** Part of the input: read from the provider's cache, and written to it. */
  cacheReadTokens?: number | null;
  cacheWriteTokens?: number | null;
  source?: string | null;
}

/** What went wrong, in words for a person and a code for a program. */
export interface Problem {
  code: string;
  text: string;
  /** When another try makes sense, in milliseconds since the epoch. */
  retryAt?: number;
}

/** A budget that is nearly used up; the server says so once a period. */
export interface BudgetNotice {
  period: "day" | "month";
  unit: "tokens" | "dollars";
  /** Decimal numbers. */
  limit: string;
  spent: string;
  /** The used percentage of the limit. */
  percent: number;
  /** ISO 8601. */
  renewsAt: string;
  of: "user" | "group" | "key";
}

/** A message of a chat. Null means not known, or not applicable to a question. */
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
  /** Null while only its stored message is known. */
  sessionId: string | null;
  messageId: string | null;
  phase: Phase;
  /** Milliseconds since the epoch. */
  startedAt: number;
  /** Why the server could not stop it; another try may succeed. */
  problem: Problem | null;
}

export type Phase =
  /** No text has arrived yet. */
  | "waiting"
  | "writing"
  /** Cancelled, but the server has not confirmed it yet. */
  | "stopping"
  /** The connection was lost, or the page reloaded: the server is asked for the rest. */
  | "resuming";

/** One conversation as a page shows it. */
export interface Chat {
  /** Stable while the page lives, even before the server assigns `conversationId`. */
  key: string;
  conversationId: string | null;
  /** The last one is the answer that is being written, if `running` is not null. */
  messages: Message[];
  running: Running | null;
  /** Why the chat could not be loaded; an answer's problem is in its message. */
  problem: Problem | null;
  loading: boolean;
  /** When an answer last ended here, in milliseconds since the epoch, or null. */
  endedAt: number | null;
}

/** What happens in a conversation, for a list of them. */
export interface Activity {
  conversationId: string;
  /** Null for an answer that another tab or program began. */
  chatKey: string | null;
  running: boolean;
  endedAt: number | null;
}

export type ConnectionState =
  | "connecting"
  | "connected"
  | "reconnecting"
  /** The browser reports that there is no network. */
  | "offline";

/** Where and how a question is to be answered. */
export interface AskOptions {
  provider: string;
  model?: string;
  /** The user's instructions: the first message of a new chat; later changes do nothing. */
  instructions?: string;
  temperature?: number;
  maxTokens?: number;
}
