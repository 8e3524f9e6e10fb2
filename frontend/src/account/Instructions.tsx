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
        What every new chat should know: who you are, how you like to be answered. Chats
        that have begun keep what they began with.
      </p>
      <TextArea
        label="Your instructions"
        rows={9}
        value={text}
        placeholder={EXAMPLE}
        onChange={(event) => change(event.target.value)}
        hint={`Kept in this browser as you type. ${counted(-excess)} left.`}
        error={
          excess > 0 ? `${counted(excess)} too many, so this is not kept.` : undefined
        }
      />
    </>
  );
}

function counted(characters: number): string {
  return `${characters.toLocaleString()} ${characters === 1 ? "character" : "characters"}`;
}
