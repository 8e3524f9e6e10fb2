import { ArrowUp, Square } from "lucide-react";
import {
  type KeyboardEvent,
  type ReactNode,
  type RefObject,
  useLayoutEffect,
} from "react";

import { IconButton, isComposing } from "../ui";
import { useTouch } from "./media";

interface ComposerProps {
  box: RefObject<HTMLTextAreaElement | null>;
  text: string;
  onChange: (text: string) => void;
  answering: boolean;
  stopping: boolean;
  /** Whether a question can be sent now. */
  ready: boolean;
  onSend: () => void;
  onStop: () => void;
  onEditLast: () => void;
  /** The picker of models, next to the buttons. */
  children: ReactNode;
}

/** The text box: Enter sends, Shift+Enter begins a new line; on touch, Enter does. */
export function Composer(props: ComposerProps) {
  const { box, text, answering, stopping, ready, onChange, onSend, onStop } = props;
  const touch = useTouch();
  const sendable = ready && !answering && text.trim() !== "";
  useGrowing(box, text);

  function onKeyDown(event: KeyboardEvent): void {
    // Enter that confirms an input method's suggestion does not send.
    if (isComposing(event.nativeEvent)) return;
    if (event.key === "ArrowUp" && text === "" && !answering) {
      event.preventDefault();
      props.onEditLast();
    }
    if (event.key !== "Enter" || event.shiftKey) return;
    if (touch && !event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    if (sendable) onSend();
  }

  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        if (sendable) onSend();
      }}
    >
      <textarea
        ref={box}
        aria-label="Your message"
        placeholder="Ask anything"
        rows={1}
        dir="auto"
        enterKeyHint={touch ? "enter" : "send"}
        value={text}
        onChange={(event) => onChange(event.target.value)}
        onKeyDown={onKeyDown}
      />
      <div className="composer-tools">
        {props.children}
        {answering ? (
          <IconButton
            icon={Square}
            label="Stop"
            keys="Esc"
            kind="secondary"
            disabled={stopping}
            onClick={() => {
              onStop();
              box.current?.focus();
            }}
          />
        ) : (
          <IconButton
            icon={ArrowUp}
            label="Send"
            {...(touch ? {} : { keys: "Enter" })}
            kind="primary"
            type="submit"
            disabled={!sendable}
          />
        )}
      </div>
    </form>
  );
}

/** Lets the box grow with its text, if the browser does not do that by itself. */
function useGrowing(box: RefObject<HTMLTextAreaElement | null>, text: string): void {
  useLayoutEffect(() => {
    const element = box.current;
    if (element === null || CSS.supports("field-sizing", "content")) return;
    element.style.height = "auto";
    element.style.height = `${element.scrollHeight}px`;
  }, [box, text]);
}
