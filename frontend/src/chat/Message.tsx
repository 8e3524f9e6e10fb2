import { memo } from "react";

import type { Message as ChatMessage, Running } from "../llm";
import type { Turns } from "./turns";
import { Answer } from "./Answer";
import { Question } from "./Question";

interface MessageProps {
  message: ChatMessage;
  /** Whether the message, or the answer to it, is the last of the conversation. */
  isLast: boolean;
  /** Null unless the message is the answer that is being written. */
  running: Running | null;
  turns: Turns;
}

/** One message. While an answer is written, only the message that changes is redrawn. */
export const Message = memo(function Message(props: MessageProps) {
  switch (props.message.role) {
    case "user":
      return <Question {...props} />;
    case "assistant":
      return <Answer {...props} />;
    case "system":
      return <Instructions text={props.message.content} />;
  }
});

function Instructions({ text }: { text: string }) {
  return (
    <details className="instructions">
      <summary>Your instructions</summary>
      <p dir="auto">{text}</p>
    </details>
  );
}
