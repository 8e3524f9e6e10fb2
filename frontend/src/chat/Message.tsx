import { memo } from "react";

import type { Message as ChatMessage, Running } from "../llm";
import type { Turns } from "./turns";
import { Answer } from "./Answer";
import { Question } from "./Question";

interface MessageProps {
  message: ChatMessage;
  /** The answer to it, or it itself, is the last of the conversation. */
  isLast: boolean;
  /** Of the answer that is being written. */
  running: Running | null;
  turns: Turns;
}

/** One message. Only the one that changes is drawn again while an answer is written. */
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
