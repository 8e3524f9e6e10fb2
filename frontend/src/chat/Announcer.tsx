import { useEffect, useRef, useState } from "react";

import type { Chat } from "../llm";
import { reason } from "./reasons";

/** Announces to screen readers when an answer begins and ends, but not each word. */
export function Announcer({ chat, label }: { chat: Chat; label: string }) {
  const [text, setText] = useState("");
  const before = useRef({ key: chat.key, running: chat.running !== null });
  const isRunning = chat.running !== null;

  useEffect(() => {
    const { key, running } = before.current;
    before.current = { key: chat.key, running: isRunning };
    if (key !== chat.key) setText("");
    else if (running !== isRunning) setText(isRunning ? "Answer started" : endOf(chat, label));
  }, [chat.key, isRunning]);

  return (
    <p role="status" className="visually-hidden" data-testid="announcer">
      {text}
    </p>
  );
}

function endOf(chat: Chat, label: string): string {
  const last = chat.messages.at(-1);
  if (last?.state === "cancelled") return "Answer stopped";
  if (last?.problem) return reason(last.problem.code, last.problem.text, label);
  return "Answer finished";
}
