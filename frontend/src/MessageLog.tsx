import { useEffect, useRef } from "react";

import type { Chat, Message, Phase } from "./llm";

const SPEAKERS = { system: "System", user: "You", assistant: "Assistant" };
const NEAR_END_PX = 80;

interface MessageLogProps {
  chat: Chat;
  problem: string | null;
}

/** The messages so far. Model output is shown as text, never as markup. */
export function MessageLog({ chat, problem }: MessageLogProps) {
  const log = useFollowedEnd([chat, problem]);
  const { messages, running } = chat;
  return (
    <main
      ref={log}
      className="messages"
      role="log"
      aria-label="Conversation"
      aria-busy={running !== null}
      tabIndex={0}
    >
      {messages.length === 0 && problem === null && (
        <p className="empty">Ask something to begin.</p>
      )}
      {messages.map((message) => (
        <Turn
          key={message.key}
          message={message}
          phase={message.state === "streaming" ? running?.phase : undefined}
        />
      ))}
      {problem !== null && (
        <p role="alert" className="problem">
          {problem}
        </p>
      )}
    </main>
  );
}

const PHASE_TEXT: Record<Phase, string> = {
  waiting: "Waiting for the first word…",
  writing: "Writing…",
  stopping: "Stopping…",
  resuming: "Resuming…",
};

function Turn({ message, phase }: { message: Message; phase: Phase | undefined }) {
  const { role, content, problem } = message;
  return (
    <>
      {(content !== "" || phase !== undefined) && (
        <article className={`message ${role}`}>
          <h2>{SPEAKERS[role]}</h2>
          <div className="text" dir="auto">
            {content}
            {phase !== undefined && <span className="phase">{PHASE_TEXT[phase]}</span>}
          </div>
        </article>
      )}
      {problem !== null && (
        <p role="alert" className="problem">
          {problem.text}
        </p>
      )}
    </>
  );
}

/** Scrolls to the end as it grows, unless the reader has scrolled up. */
function useFollowedEnd(changes: unknown[]) {
  const ref = useRef<HTMLElement>(null);
  const following = useRef(true);

  useEffect(() => {
    const element = ref.current;
    if (element === null) return;
    const noteScroll = () => {
      const left = element.scrollHeight - element.scrollTop - element.clientHeight;
      following.current = left < NEAR_END_PX;
    };
    element.addEventListener("scroll", noteScroll, { passive: true });
    return () => element.removeEventListener("scroll", noteScroll);
  }, []);

  useEffect(() => {
    const element = ref.current;
    if (element !== null && following.current) element.scrollTop = element.scrollHeight;
  }, changes);

  return ref;
}
