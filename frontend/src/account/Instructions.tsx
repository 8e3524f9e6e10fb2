import { useState } from "react";

import { TextArea } from "../ui";
import { INSTRUCTIONS_LIMIT, useInstructions } from "./instructions";

const EXAMPLE =
  "Answer briefly. I am a nurse and know the medical terms. Use metric units.";

export function Instructions() {
  const [kept, keep] = useInstructions();
  const [text, setText] = useState(kept);
  const excess = text.length - INSTRUCTIONS_LIMIT;

  function change(changed: string): void {
    setText(changed);
    if (changed.length <= INSTRUCTIONS_LIMIT) keep(changed);
  }

  return (
    <>
      <p className="hint">
        What every new chat should know: who you are, and how you like your answers. Chats
        that you have already started keep their instructions.
      </p>
      <TextArea
        label="Your instructions"
        rows={9}
        value={text}
        placeholder={EXAMPLE}
        onChange={(event) => change(event.target.value)}
        hint={`Saved in this browser as you type. ${counted(-excess)} left.`}
        error={
          excess > 0 ? `${counted(excess)} too many, so this is not saved.` : undefined
        }
      />
    </>
  );
}

function counted(characters: number): string {
  return `${characters.toLocaleString()} ${characters === 1 ? "character" : "characters"}`;
}
