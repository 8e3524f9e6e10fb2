import { type ReactNode, useEffect, useRef } from "react";

import type { Answer, Chat } from "./chat";

const SPEAKERS = { system: "System", user: "You", assistant: "Assistant" };
const NEAR_END_PX = 80;

interface MessageLogProps {
  chat: Chat;
  problem: string | null;
}

/** The messages so far. Model output is shown as text, never as markup. */
export function MessageLog({ chat, problem }: MessageLogProps) {
  const log = useFollowedEnd([chat, problem]);
  const { messages, answer } = chat;
  return (
    <main
      ref={log}
      className="messages"
      role="log"
      aria-label="Conversation"
      aria-busy={answer !== null}
      tabIndex={0}
    >
      {messages.length === 0 && problem === null && (
        <p className="empty">Ask something to begin.</p>
      )}
      {messages.map(({ role, content }, index) => (
        <Message key={index} role={role}>
          {content}
        </Message>
      ))}
      {answer !== null && (
        <Message role="assistant">
          {answer.text}
          <span className="phase">{phaseText(answer)}</span>
        </Message>
      )}
      {problem !== null && (
        <p role="alert" className="problem">
          {problem}
        </p>
      )}
    </main>
  );
}

function phaseText({ text, stopping }: Answer): string {
  if (stopping) return "Stopping…";
  return text === "" ? "Waiting for the first word…" : "Writing…";
}

function Message({ role, children }: { role: keyof typeof SPEAKERS; children: ReactNode }) {
  return (
    <article className={`message ${role}`}>
      <h2>{SPEAKERS[role]}</h2>
      <div className="text" dir="auto">
        {children}
      </div>
    </article>
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
