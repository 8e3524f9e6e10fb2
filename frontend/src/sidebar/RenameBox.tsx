import { useEffect, useRef, useState } from "react";

import { isComposing } from "../ui";

// The maximum number of characters that the server accepts.
const MOST = 120;

interface RenameBoxProps {
  title: string;
  /** Called once, with null if nothing is to change. */
  onEnd: (title: string | null) => void;
}

/** Edits a title in place: Enter and leaving the box save it, Escape does not. */
export function RenameBox({ title, onEnd }: RenameBoxProps) {
  const [value, setValue] = useState(title);
  const box = useRef<HTMLInputElement>(null);
  const ended = useRef(false);

  useEffect(() => {
    // After the menu has closed, because that returns the focus to its button.
    const frame = requestAnimationFrame(() => box.current?.select());
    return () => cancelAnimationFrame(frame);
  }, []);

  function end(changed: string | null): void {
    if (ended.current) return;
    ended.current = true;
    onEnd(changed === "" ? null : changed);
  }

  return (
    <input
      ref={box}
      className="rename"
      aria-label="New title"
      value={value}
      maxLength={MOST}
      autoFocus
      onChange={(event) => setValue(event.target.value)}
      onBlur={() => end(value.trim())}
      onKeyDown={(event) => {
        if (isComposing(event.nativeEvent)) return;
        if (event.key === "Enter") end(value.trim());
        if (event.key !== "Escape") return;
        event.preventDefault();
        end(null);
      }}
    />
  );
}
