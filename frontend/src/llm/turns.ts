/** What a question sends of a chat, and what becomes of it in the store. */
import type { StreamRequest } from "./events";
import { storedProblem } from "./problems";
import type { AskOptions, Chat, ChatMessage, Message } from "./types";

// Of a question that replaces another one.
const CHANGED: ReadonlySet<string> = new Set(["message_not_found", "conversation_active"]);

/**
 * What a model is sent of a chat. A question whose answer has no word is left out, lest
 * the model take it for a part of the next one.
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
 * Where a question belongs that is asked at `index`. What is there is replaced where it
 * is stored, or else `replaced`, which is stored and no longer shown. Where the id is not
 * known, the history alone says where the chat goes on.
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

/** Who wrote the last answer, which is to write the next one as well. */
export function lastOptions({ messages }: Chat): AskOptions | undefined {
  const answered = messages.filter(({ provider }) => provider !== null).at(-1);
  if (!answered?.provider) return undefined;
  const { provider, model } = answered;
  return model === null ? { provider } : { provider, model };
}

/** Whether the question that a chat waits for is the last one of what is stored. */
export function isStored(
  request: StreamRequest | null,
  chat: Chat,
  stored: Message[],
): boolean {
  const last = stored.filter(({ role }) => role === "user").at(-1);
  if (last === undefined || last.content !== request?.messages.at(-1)?.content) return false;
  return request.replaces !== undefined || !chat.messages.some(({ id }) => id === last.id);
}

/** Whether a chat's history is not known: a question would be asked without it. */
export function isUnread({ messages, problem }: Chat): boolean {
  return messages.length === 0 && problem !== null;
}

/** The last question, if nothing says yet that the server has it; else null. */
export function untakenQuestion({ messages }: Chat): string | null {
  const [question, answer] = messages.slice(-2);
  if (question?.role !== "user" || question.id !== null) return null;
  return answer?.role === "assistant" && answer.id === null ? question.content : null;
}

/** An answer that is being written, or that the server has refused to write. */
export function isOnlyHere({ role, id, state }: Message): boolean {
  return state === "streaming" || (role === "assistant" && id === null);
}

/** An answer that is stored as being written, and that nobody writes. */
export function brokenOff(message: Message): Message {
  if (message.state !== "streaming") return message;
  return { ...message, state: "interrupted", problem: storedProblem("interrupted") };
}

/** Whether what the last question was to replace is not there any more, or may soon not be. */
export function wasReplacedElsewhere({ conversationId, messages }: Chat): boolean {
  const code = messages.at(-1)?.problem?.code;
  return conversationId !== null && code !== undefined && CHANGED.has(code);
}

/** Instructions are the first message, and belong to a chat that is not stored yet. */
export function mayBeInstructed(chat: Chat, kept: Message[]): boolean {
  if (chat.conversationId !== null || kept.some(({ id }) => id !== null)) return false;
  return !kept.some(({ content, role }) => content !== "" && role === "assistant");
}
