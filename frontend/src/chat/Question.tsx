import { Check, Copy, Pencil } from "lucide-react";
import { useContext, useEffect, useRef, useState } from "react";

import type { Message } from "../llm";
import { Button, IconButton, isComposing } from "../ui";
import { onEditQuestion } from "./editing";
import { type Turns, WhyNotNow } from "./turns";
import { useCopy } from "./useCopy";

const LONG = 2000;
const LONG_LINES = 24;

interface QuestionProps {
  message: Message;
  isLast: boolean;
  turns: Turns;
}

export function Question({ message, isLast, turns }: QuestionProps) {
  const [editing, setEditing] = useState(false);
  const [copied, copy] = useCopy();
  const pencil = useRef<HTMLButtonElement>(null);

  useEffect(() => (isLast ? onEditQuestion(() => setEditing(true)) : undefined), [isLast]);

  function close(): void {
    setEditing(false);
    requestAnimationFrame(() => pencil.current?.focus());
  }

  return (
    <article className="message question" data-state={message.state}>
      <h2 className="visually-hidden">You asked</h2>
      {editing ? (
        <Editor
          text={message.content}
          onCancel={close}
          onSend={(text) => turns.edit(message.key, text) && setEditing(false)}
        />
      ) : (
        <>
          <Text text={message.content} />
          <div className="actions">
            <IconButton
              icon={copied ? Check : Copy}
              label={copied ? "Copied" : "Copy question"}
              size="s"
              onClick={() => copy(message.content)}
            />
            <IconButton
              ref={pencil}
              icon={Pencil}
              label="Edit question"
              size="s"
              onClick={() => setEditing(true)}
            />
          </div>
        </>
      )}
    </article>
  );
}

/** The text; if it is very long, only its beginning until the reader wants the rest. */
function Text({ text }: { text: string }) {
  const [whole, setWhole] = useState(false);
  const isLong = text.length > LONG || text.split("\n", LONG_LINES + 1).length > LONG_LINES;
  return (
    <div className="bubble">
      <div className="bubble-text" dir="auto" data-cut={(isLong && !whole) || undefined}>
        {text}
      </div>
      {isLong && (
        <Button kind="quiet" size="s" aria-expanded={whole} onClick={() => setWhole(!whole)}>
          {whole ? "Show less" : "Show all"}
        </Button>
      )}
    </div>
  );
}

interface EditorProps {
  text: string;
  onSend: (text: string) => void;
  onCancel: () => void;
}

function Editor({ text, onSend, onCancel }: EditorProps) {
  const [value, setValue] = useState(text);
  const box = useRef<HTMLTextAreaElement>(null);
  const whyNot = useContext(WhyNotNow);
  const sendable = whyNot === null && value.trim() !== "";

  useEffect(() => {
    box.current?.focus();
    box.current?.setSelectionRange(text.length, text.length);
  }, [text]);

  return (
    <form
      className="editor"
      onSubmit={(event) => {
        event.preventDefault();
        if (sendable) onSend(value.trim());
      }}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || isComposing(event.nativeEvent)) return;
        event.preventDefault();
        onCancel();
      }}
    >
      <textarea
        ref={box}
        aria-label="Edit your question"
        value={value}
        dir="auto"
        rows={3}
        onChange={(event) => setValue(event.target.value)}
        onKeyDown={(event) => {
          if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
          if (isComposing(event.nativeEvent)) return;
          event.preventDefault();
          event.currentTarget.form?.requestSubmit();
        }}
      />
      <p className="editor-note" role="status">
        {whyNot ?? "Everything after this will be replaced."}
      </p>
      <Button kind="quiet" size="s" onClick={onCancel}>
        Cancel
      </Button>
      <Button kind="primary" size="s" type="submit" disabled={!sendable}>
        Ask again
      </Button>
    </form>
  );
}
