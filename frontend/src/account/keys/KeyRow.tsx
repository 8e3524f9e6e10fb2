import { useState } from "react";

import { isTokenError } from "../../llm/session";
import { AlertDialog, Button, FormProblem } from "../../ui";
import { useAccount } from "../context";
import type { ApiKey } from "./keys";

interface KeyRowProps {
  row: ApiKey;
  onRevoke: () => Promise<void>;
}

export function KeyRow({ row, onRevoke }: KeyRowProps) {
  const [asks, setAsks] = useState(false);
  return (
    <li data-state={row.state}>
      <div className="key-facts">
        <p>
          <strong>{row.name}</strong> <code>{row.prefix}…</code>
        </p>
        <p className="hint">{factsOf(row)}</p>
      </div>
      {row.state !== "revoked" && (
        <Button size="s" aria-label={`Revoke ${row.name}`} onClick={() => setAsks(true)}>
          Revoke
        </Button>
      )}
      {asks && (
        <Revocation name={row.name} onRevoke={onRevoke} onClose={() => setAsks(false)} />
      )}
    </li>
  );
}

interface RevocationProps {
  name: string;
  onRevoke: () => Promise<void>;
  onClose: () => void;
}

function Revocation({ name, onRevoke, onClose }: RevocationProps) {
  const { endSession } = useAccount();
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);

  async function revoke(): Promise<void> {
    setBusy(true);
    try {
      await onRevoke();
      onClose();
    } catch (error) {
      if (isTokenError(error)) endSession();
      setProblem((error as Error).message);
      setBusy(false);
    }
  }

  return (
    <AlertDialog
      open
      title={`Revoke “${name}”?`}
      action="Revoke key"
      danger
      busy={busy}
      onConfirm={() => void revoke()}
      onClose={onClose}
    >
      <p>Programs that use it stop working immediately. This cannot be undone.</p>
      <FormProblem>{problem}</FormProblem>
    </AlertDialog>
  );
}

/** What is known about a key, as one line. */
export function factsOf(key: ApiKey): string {
  const { state, scopes, lastUsedAt, expiresAt } = key;
  const used = lastUsedAt === null ? "never used" : `used ${shown(lastUsedAt)}`;
  const parts = [state, scopes.join(", "), used];
  if (expiresAt !== null && state !== "revoked") parts.push(endOf(state, expiresAt));
  return parts.join(" · ");
}

function endOf(state: ApiKey["state"], expiresAt: string): string {
  return `${state === "expired" ? "expired" : "expires"} ${shown(expiresAt)}`;
}

function shown(moment: string): string {
  return new Date(moment).toLocaleString(undefined, {
    dateStyle: "medium",
    timeStyle: "short",
  });
}
