import { type KeyboardEvent, useRef, useState } from "react";

import type { Running } from "./llm";

interface ComposerProps {
  running: Running | null;
  ready: boolean;
  onSend: (text: string) => void;
  onStop: () => void;
}

/** The text box: Enter sends, Shift+Enter begins a new line, Escape stops. */
export function Composer({ running, ready, onSend, onStop }: ComposerProps) {
  const [text, setText] = useState("");
  const box = useRef<HTMLTextAreaElement>(null);
  const sendable = ready && running === null && text.trim() !== "";

  function submit(): void {
    if (!sendable) return;
    onSend(text.trim());
    setText("");
    box.current?.focus();
  }

  function onKeyDown(event: KeyboardEvent): void {
    if (event.key === "Escape" && running !== null) onStop();
    // Enter that confirms an input method's suggestion does not send.
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    submit();
  }

  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      <label htmlFor="message" className="visually-hidden">
        Message
      </label>
      <textarea
        id="message"
        ref={box}
        rows={2}
        value={text}
        placeholder="Type your message…"
        autoFocus
        onChange={(event) => setText(event.target.value)}
        onKeyDown={onKeyDown}
      />
      {running === null ? (
        <button type="submit" className="primary" disabled={!sendable}>
          Send
        </button>
      ) : (
        <button
          type="button"
          className="stop"
          disabled={running.phase === "stopping"}
          onClick={() => {
            onStop();
            box.current?.focus();
          }}
        >
          Stop
        </button>
      )}
    </form>
  );
}
