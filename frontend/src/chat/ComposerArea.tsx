import { memo, type RefObject } from "react";

import type { Phase } from "../llm";
import { Button } from "../ui";
import { Composer } from "./Composer";
import { editLastQuestion } from "./editing";
import { ModelPicker, whyNot } from "./ModelPicker";
import type { Turns } from "./turns";
import type { Picker } from "./useProviders";

interface ComposerAreaProps {
  box: RefObject<HTMLTextAreaElement | null>;
  draft: string;
  onDraft: (text: string) => void;
  /** Null while nothing is being answered. */
  phase: Phase | null;
  /** Whether the chat's earlier messages are not known, or not yet. */
  unread: boolean;
  /** Whether the draft is longer than the server accepts. */
  tooLong: boolean;
  turns: Turns;
  picker: Picker;
}

/** The text box with the picker of models; not redrawn while an answer is written. */
export const ComposerArea = memo(function ComposerArea(props: ComposerAreaProps) {
  const { box, draft, onDraft, phase, unread, tooLong, turns, picker } = props;

  function send(): void {
    if (!turns.ask(draft.trim())) return;
    onDraft("");
    box.current?.focus();
  }

  return (
    <footer className="composer-area">
      <Unavailable
        picker={picker}
        onRetry={() => {
          picker.refresh();
          box.current?.focus();
        }}
      />
      <p className="composer-note" role="status" hidden={!tooLong}>
        {tooLong && "Your message is too long to send. Shorten it, or send it in parts."}
      </p>
      <Composer
        box={box}
        text={draft}
        onChange={onDraft}
        answering={phase !== null}
        stopping={phase === "stopping"}
        ready={picker.picked !== null && !unread && !tooLong}
        onSend={send}
        onStop={turns.stop}
        onEditLast={editLastQuestion}
      >
        <ModelPicker {...picker} />
      </Composer>
    </footer>
  );
});

interface UnavailableProps {
  picker: Picker;
  onRetry: () => void;
}

/** Why no model can answer, before anything is asked; read aloud when that changes. */
function Unavailable({ picker: { picked, problem }, onRetry }: UnavailableProps) {
  const text = picked === null ? problem : whyNot(picked);
  return (
    <div className="composer-note" role="status" hidden={text === null}>
      {text !== null && <p>{text}</p>}
      {picked === null && problem !== null && (
        <Button size="s" onClick={onRetry}>
          Try again
        </Button>
      )}
    </div>
  );
}
