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
  /** Of the output. */
  reasoningTokens?: number | null;
  /** Of the input: what came from the provider's cache, and what went there. */
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
  /** Of the limit. */
  percent: number;
  /** ISO 8601. */
  renewsAt: string;
  of: "user" | "group" | "key";
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
  /** Null while nothing but the stored message is known of it. */
  sessionId: string | null;
  messageId: string | null;
  phase: Phase;
  /** Milliseconds since the epoch. */
  startedAt: number;
  /** Why the server could not stop it; another try may. */
  problem: Problem | null;
}

export type Phase =
  /** No word has come yet. */
  | "waiting"
  | "writing"
  /** Cancelled, and the server has not said so yet. */
  | "stopping"
  /** The connection was lost, or the page reloaded: the server is asked for the rest. */
  | "resuming";

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
  /** When an answer last ended here, in milliseconds since the epoch; else null. */
  endedAt: number | null;
}

/** What happens in a conversation, for a list of them. */
export interface Activity {
  conversationId: string;
  /** Null of an answer that another tab or program began. */
  chatKey: string | null;
  running: boolean;
  endedAt: number | null;
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
  /** Own instructions, the first message of a new chat; later ones change nothing. */
  instructions?: string;
  temperature?: number;
  maxTokens?: number;
}
