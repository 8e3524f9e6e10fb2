import { useEffect, useRef, useState } from "react";

import { isComposing } from "../ui";

// As many characters as the server takes.
const MOST = 120;

interface RenameBoxProps {
  title: string;
  /** Called once, with null if nothing is to change. */
  onEnd: (title: string | null) => void;
}

/** A title being changed in its place: Enter and leaving keep it, Escape does not. */
export function RenameBox({ title, onEnd }: RenameBoxProps) {
  const [value, setValue] = useState(title);
  const box = useRef<HTMLInputElement>(null);
  const ended = useRef(false);

  useEffect(() => {
    // Behind the menu that closes, which gives the focus back to its button.
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
