/** What a chat is, and how each event changes it. No I/O: a reducer. */

export interface ChatMessage {
  role: "system" | "user" | "assistant";
  content: string;
}

/** The answer being generated. */
export interface Answer {
  sessionId: string;
  text: string;
  stopping: boolean;
}

export interface Chat {
  messages: ChatMessage[];
  answer: Answer | null;
  problem: string | null;
}

/** `text` is the server's version of the answer; without it the chat keeps its own. */
interface End {
  sessionId: string;
  text?: string | undefined;
  problem?: string;
}

export type ChatEvent =
  | { type: "asked"; sessionId: string; messages: ChatMessage[] }
  | { type: "text"; sessionId: string; text: string }
  | { type: "stopping" }
  | ({ type: "ended" } & End)
  | { type: "lost" }
  | { type: "problem"; text: string }
  | { type: "cleared" };

export const emptyChat: Chat = { messages: [], answer: null, problem: null };

export function reduceChat(chat: Chat, event: ChatEvent): Chat {
  switch (event.type) {
    case "asked":
      return {
        messages: event.messages,
        answer: { sessionId: event.sessionId, text: "", stopping: false },
        problem: null,
      };
    case "text":
      return chat.answer?.sessionId !== event.sessionId
        ? chat
        : { ...chat, answer: { ...chat.answer, text: chat.answer.text + event.text } };
    case "stopping":
      return chat.answer === null
        ? chat
        : { ...chat, answer: { ...chat.answer, stopping: true } };
    case "ended":
      return endAnswer(chat, event);
    case "lost":
      return chat.answer === null
        ? chat
        : endAnswer(chat, {
            sessionId: chat.answer.sessionId,
            problem: "The connection was lost and the answer could not be resumed.",
          });
    case "problem":
      return { ...chat, problem: event.text };
    case "cleared":
      return emptyChat;
  }
}

/** Adds the text so far to the history, even if the answer was cut off. */
function endAnswer(chat: Chat, end: End): Chat {
  if (chat.answer?.sessionId !== end.sessionId) return chat;
  const content = end.text ?? chat.answer.text;
  const messages: ChatMessage[] =
    content === ""
      ? chat.messages
      : [...chat.messages, { role: "assistant", content }];
  return { messages, answer: null, problem: end.problem ?? null };
}
