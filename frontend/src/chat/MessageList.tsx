import { ArrowDown } from "lucide-react";
import { useEffect } from "react";

import type { Chat } from "../llm";
import { IconButton } from "../ui";
import { Message } from "./Message";
import type { Turns } from "./turns";
import { useEarlier } from "./useEarlier";
import { useFollowedEnd } from "./useFollowedEnd";

interface MessageListProps {
  chat: Chat;
  turns: Turns;
}

/** The conversation from its first message to its newest; remounted for each chat. */
export function MessageList({ chat, turns }: MessageListProps) {
  const { messages, running } = chat;
  const left = useEarlier(messages.length);
  const end = useFollowedEnd();
  const newest = messages.filter(({ role }) => role === "user").at(-1)?.key;
  const lastIndex = messages.length - 1;

  // A reader who asks wants to see the answer.
  useEffect(() => end.toEnd(), [newest, end.toEnd]);

  return (
    <>
      <div
        className="messages"
        ref={end.list}
        role="region"
        aria-label="Conversation"
        tabIndex={0}
      >
        <div className="messages-column" ref={end.content}>
          {messages.slice(left).map((message, index) => (
            <Message
              key={message.key}
              message={message}
              isLast={left + index >= lastIndex - 1}
              running={left + index === lastIndex ? running : null}
              turns={turns}
            />
          ))}
        </div>
      </div>
      {!end.atEnd && (
        <div className="to-end">
          <IconButton
            icon={ArrowDown}
            label="Scroll to the newest message"
            kind="secondary"
            onClick={() => end.toEnd("smooth")}
          />
        </div>
      )}
    </>
  );
}
