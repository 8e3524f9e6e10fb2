import { Check, Copy } from "lucide-react";
import { useState } from "react";

import { Button, TextField } from "../../ui";

/** The key itself, which is shown only this once. */
export function MadeKey({ value, onDone }: { value: string; onDone: () => void }) {
  return (
    <div className="made-key">
      <TextField
        label="Copy the key now"
        hint="It will not be shown again. Keep it secret, like a password."
        readOnly
        autoFocus
        value={value}
        onFocus={(event) => event.target.select()}
      />
      <div className="row">
        {/* Browsers let a page copy only on HTTPS and localhost. */}
        {window.isSecureContext && <CopyButton text={value} />}
        <Button onClick={onDone}>Done</Button>
      </div>
    </div>
  );
}

function CopyButton({ text }: { text: string }) {
  const [copied, setCopied] = useState(false);
  const Icon = copied ? Check : Copy;

  async function copy(): Promise<void> {
    await navigator.clipboard.writeText(text);
    setCopied(true);
  }

  return (
    <Button kind="primary" onClick={() => void copy().catch(() => undefined)}>
      <Icon aria-hidden size={18} strokeWidth={1.75} />
      <span aria-live="polite">{copied ? "Copied" : "Copy"}</span>
    </Button>
  );
}
