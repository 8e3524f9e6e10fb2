/** The answer that a chat waits for: what the server was asked, and what is known of it. */
import type { StreamRequest } from "./events";

export interface Run {
  readonly chatKey: string;
  sessionId: string | null;
  messageId: string | null;
  /** What is asked; null for an answer that was not begun here. */
  readonly request: StreamRequest | null;
  /** Whether the request was sent. */
  sent: boolean;
  /** Whether the server sends the answer's events to this connection. */
  heard: boolean;
  /** Whether the request was sent again with a new token. */
  renewed: boolean;
  /** Whether the request was sent again because it was lost on the way. */
  resent: boolean;
  /** How often attaching was postponed. */
  tries: number;
  timer: ReturnType<typeof setTimeout> | undefined;
}

export function newRun(
  chatKey: string,
  request: StreamRequest | null,
  messageId: string | null = null,
): Run {
  const sessionId = request?.sessionId ?? null;
  const nothingYet = { sent: false, heard: false, renewed: false, resent: false, tries: 0 };
  return { chatKey, request, sessionId, messageId, ...nothingYet, timer: undefined };
}

export function newSessionId(): string {
  return `session-${Date.now()}-${Math.random().toString(36).slice(2)}`;
}
