/** The REST API of the user's stored conversations and running answers. */
import { storedProblem } from "./problems";
import { authorized } from "./session";
import type { Message, MessageState, Role, Usage } from "./types";

/** A conversation without its messages. */
export interface Conversation {
  id: string;
  title: string;
  provider: string;
  model: string;
  /** The state of the last answer. */
  state: MessageState | null;
  /** ISO 8601. */
  createdAt: string;
  updatedAt: string;
  messageCount: number;
  usage: { inputTokens: number; outputTokens: number };
  /** US dollars as a decimal number; null if no price is known. */
  cost: string | null;
}

export interface ConversationPage {
  results: Conversation[];
  /** The cursor of the next page; null on the last page. */
  cursor: string | null;
}

/** One row of GET /llm/streams. */
export interface RunningStream {
  sessionId: string;
  provider: string;
  model: string;
  conversationId: string;
  messageId: string;
}

interface StoredMessage {
  id: string;
  role: Role | "tool";
  content: string;
  state: MessageState;
  createdAt: string;
  provider: string | null;
  model: string | null;
  finishReason: string | null;
  code: string | null;
  usage: Usage | null;
  cost: string | null;
  /** Not every server sends it. */
  durationMs?: number | null;
}

type StoredPage = Conversation & { messages: StoredMessage[]; cursor: string | null };

/** Lists conversations, the latest first. `search` finds words in titles and messages. */
export function listConversations(
  wanted: { search?: string; cursor?: string | null; limit?: number } = {},
): Promise<ConversationPage> {
  const query = new URLSearchParams();
  if (wanted.search) query.set("search", wanted.search);
  if (wanted.cursor) query.set("cursor", wanted.cursor);
  if (wanted.limit !== undefined) query.set("limit", String(wanted.limit));
  return authorized<ConversationPage>(`/llm/conversations?${query}`);
}

/** Reads all messages. Rejects with ApiError `conversation_not_found`. */
export async function readConversation(id: string): Promise<Message[]> {
  const messages: StoredMessage[] = [];
  let query = "";
  for (;;) {
    const page = await authorized<StoredPage>(conversationPath(id) + query);
    messages.push(...page.messages);
    if (page.cursor === null) break;
    query = `?cursor=${encodeURIComponent(page.cursor)}`;
  }
  return messages.filter(({ role }) => role !== "tool").map(toMessage);
}

export function renameConversation(id: string, title: string): Promise<Conversation> {
  const options = { method: "PATCH", body: { title } };
  return authorized<Conversation>(conversationPath(id), options);
}

/**
 * Deletes a conversation with its messages; the server stops an answer that is being
 * written. This works even if the page is closed before the response, or if the user logs
 * out first, when `token` is one from before that.
 */
export async function deleteConversation(id: string, token?: string): Promise<void> {
  const options = { method: "DELETE", keepalive: true };
  await authorized(conversationPath(id), token === undefined ? options : { ...options, token });
}

/** Lists the user's answers that are being written, wherever they were begun. */
export async function listStreams(): Promise<RunningStream[]> {
  return (await authorized<{ streams: RunningStream[] }>("/llm/streams")).streams;
}

function conversationPath(id: string): string {
  return `/llm/conversations/${encodeURIComponent(id)}`;
}

function toMessage(stored: StoredMessage): Message {
  const { id, content, state, provider, model, finishReason, usage, cost } = stored;
  return {
    key: id,
    role: stored.role as Role,
    ...{ id, content, state, provider, model, finishReason, usage, cost },
    createdAt: Date.parse(stored.createdAt),
    durationMs: stored.durationMs ?? null,
    problem: problemOf(stored),
  };
}

function problemOf({ state, code }: StoredMessage) {
  if (state === "interrupted") return storedProblem("interrupted");
  return state === "error" ? storedProblem(code ?? "unknown") : null;
}
