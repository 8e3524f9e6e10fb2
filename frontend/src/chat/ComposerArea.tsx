import { memo, type RefObject } from "react";

import type { Phase } from "../llm";
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
  loading: boolean;
  turns: Turns;
  picker: Picker;
}

/** The text box with the picker of models. Not drawn again while an answer is written. */
export const ComposerArea = memo(function ComposerArea(props: ComposerAreaProps) {
  const { box, draft, onDraft, phase, loading, turns, picker } = props;

  function send(): void {
    if (!turns.ask(draft.trim())) return;
    onDraft("");
    box.current?.focus();
  }

  return (
    <footer className="composer-area">
      <Unavailable picker={picker} />
      <Composer
        box={box}
        text={draft}
        onChange={onDraft}
        answering={phase !== null}
        stopping={phase === "stopping"}
        ready={picker.picked !== null && !loading}
        onSend={send}
        onStop={turns.stop}
        onEditLast={editLastQuestion}
      >
        <ModelPicker {...picker} />
      </Composer>
    </footer>
  );
});

/** Why the picked model cannot answer, before anything is asked. */
function Unavailable({ picker: { picked, problem } }: { picker: Picker }) {
  const text = picked === null ? problem : whyNot(picked);
  return text === null ? null : <p className="composer-note">{text}</p>;
}
