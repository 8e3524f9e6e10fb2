import { useEffect, useState } from "react";

import { copyText } from "./clipboard";

/** Copies a text, and says so visibly and to screen readers. */
export function CopyButton({ text }: { text: string }) {
  const [said, setSaid] = useState("");
  useEffect(() => {
    if (!said) return;
    const timer = setTimeout(() => setSaid(""), 2_000);
    return () => clearTimeout(timer);
  }, [said]);

  async function copy(): Promise<void> {
    setSaid((await copyText(text)) ? "Copied" : "Not copied");
  }

  return (
    <>
      <button type="button" className="md-copy" aria-label={said || "Copy code"} onClick={() => void copy()}>
        {said || "Copy"}
      </button>
      <span className="md-said" role="status">
        {said}
      </span>
    </>
  );
}
