/** What a question sends of a chat, and where it belongs among the stored messages. */
import type { StreamRequest } from "./events";
import { storedProblem } from "./problems";
import type { AskOptions, Chat, ChatMessage, Message } from "./types";

// Errors which say that a question to be replaced was changed elsewhere, or soon may be.
const CHANGED: ReadonlySet<string> = new Set(["message_not_found", "conversation_active"]);

/**
 * The messages of a chat that are sent to the model. A question with an empty answer is
 * left out, so that the model does not take it for a part of the next question.
 */
export function historyOf(messages: Message[]): ChatMessage[] {
  return messages
    .filter((message, index) => {
      const next = messages[index + 1];
      const unanswered = next?.role === "assistant" && next.content === "";
      return message.content !== "" && !(message.role === "user" && unanswered);
    })
    .map(({ role, content }) => ({ role, content }));
}

/**
 * The place of a question that is asked at `index`. It replaces the stored question there,
 * or else `replaced`, which is stored but no longer shown. If the stored question's id is
 * not known, only the history says where the chat continues.
 */
export function placeOf(chat: Chat, index: number, replaced: string | undefined) {
  const question = chat.messages[index];
  const isStored = question?.id != null || chat.messages[index + 1]?.id != null;
  if (chat.conversationId === null || (isStored && question?.id === null)) return {};
  const { conversationId } = chat;
  const replaces = question?.id ?? replaced;
  return replaces === undefined ? { conversationId } : { conversationId, replaces };
}

/** The fields of a request that say who answers, and how. */
export function settingsOf(options: AskOptions) {
  const { instructions: _, ...settings } = options;
  return settings;
}

/** The provider and model of the last answer, which are used for the next one as well. */
export function lastOptions({ messages }: Chat): AskOptions | undefined {
  const answered = messages.filter(({ provider }) => provider !== null).at(-1);
  if (!answered?.provider) return undefined;
  const { provider, model } = answered;
  return model === null ? { provider } : { provider, model };
}

/** Whether the question that a chat waits with is the last stored question. */
export function isStored(
  request: StreamRequest | null,
  chat: Chat,
  stored: Message[],
): boolean {
  const last = stored.filter(({ role }) => role === "user").at(-1);
  if (last === undefined || last.content !== request?.messages.at(-1)?.content) return false;
  return request.replaces !== undefined || !chat.messages.some(({ id }) => id === last.id);
}

/** Whether a chat's history is unknown, so that a question would be asked without it. */
export function isUnread({ messages, problem }: Chat): boolean {
  return messages.length === 0 && problem !== null;
}

/** The last question, if nothing shows that the server has it; otherwise null. */
export function untakenQuestion({ messages }: Chat): string | null {
  const [question, answer] = messages.slice(-2);
  if (question?.role !== "user" || question.id !== null) return null;
  return answer?.role === "assistant" && answer.id === null ? question.content : null;
}

/** Whether it is an answer that is being written, or that the server did not write. */
export function isOnlyHere({ role, id, state }: Message): boolean {
  return state === "streaming" || (role === "assistant" && id === null);
}

/** Marks an answer as interrupted if it is stored as being written: no server writes it. */
export function brokenOff(message: Message): Message {
  if (message.state !== "streaming") return message;
  return { ...message, state: "interrupted", problem: storedProblem("interrupted") };
}

/** Whether the question that the last one was to replace is gone, or may soon be. */
export function wasReplacedElsewhere({ conversationId, messages }: Chat): boolean {
  const code = messages.at(-1)?.problem?.code;
  return conversationId !== null && code !== undefined && CHANGED.has(code);
}

/** Instructions are the first message, and belong to a chat that is not stored yet. */
export function mayBeInstructed(chat: Chat, kept: Message[]): boolean {
  if (chat.conversationId !== null || kept.some(({ id }) => id !== null)) return false;
  return !kept.some(({ content, role }) => content !== "" && role === "assistant");
}
