import { type FormEvent, useEffect, useRef, useState } from "react";

import { type ApiKey, type NewKey, SCOPES, useKeys } from "./keys";

const DAY_MS = 24 * 60 * 60 * 1000;
const LIVES: [days: string, text: string][] = [
  ["30", "30 days"],
  ["90", "90 days"],
  ["365", "a year"],
  ["", "until it is revoked"],
];

interface ApiKeysProps {
  onClose: () => void;
  onLoggedOut: () => void;
}

/** The dialog in which a user makes and revokes keys for programs. */
export function ApiKeys({ onClose, onLoggedOut }: ApiKeysProps) {
  const { keys, problem, make, revoke } = useKeys(onLoggedOut);
  const [made, setMade] = useState<string | null>(null);
  const dialog = useRef<HTMLDialogElement>(null);

  useEffect(() => dialog.current?.showModal(), []);

  return (
    <dialog ref={dialog} className="keys" aria-labelledby="keys-title" onClose={onClose}>
      <header>
        <h2 id="keys-title">API keys</h2>
        <button type="button" onClick={() => dialog.current?.close()}>
          Close
        </button>
      </header>
      <p role="alert" className="problem" hidden={problem === null}>
        {problem}
      </p>
      {made === null ? (
        <KeyForm onMake={async (wanted) => setMade(await make(wanted))} />
      ) : (
        <MadeKey value={made} onDone={() => setMade(null)} />
      )}
      <ul>
        {keys.map((key) => (
          <KeyRow key={key.id} row={key} onRevoke={() => void revoke(key)} />
        ))}
      </ul>
    </dialog>
  );
}

function KeyForm({ onMake }: { onMake: (wanted: NewKey) => Promise<void> }) {
  const [busy, setBusy] = useState(false);

  async function submit(event: FormEvent<HTMLFormElement>): Promise<void> {
    event.preventDefault();
    setBusy(true);
    await onMake(wantedBy(new FormData(event.currentTarget)));
    setBusy(false);
  }

  return (
    <form onSubmit={(event) => void submit(event)}>
      <label>
        Name
        <input name="name" maxLength={100} placeholder="nightly report" required />
      </label>
      <label>
        Valid for
        <select name="days" defaultValue="90">
          {LIVES.map(([days, text]) => (
            <option key={days} value={days}>
              {text}
            </option>
          ))}
        </select>
      </label>
      <fieldset>
        <legend>May</legend>
        {SCOPES.map((scope) => (
          <label key={scope}>
            <input
              type="checkbox"
              name="scopes"
              value={scope}
              defaultChecked={scope !== "usage"}
            />
            {scope}
          </label>
        ))}
      </fieldset>
      <button type="submit" className="primary" disabled={busy}>
        Make a key
      </button>
    </form>
  );
}

function wantedBy(form: FormData): NewKey {
  const days = Number(form.get("days"));
  return {
    name: String(form.get("name")),
    scopes: form.getAll("scopes").map(String),
    expiresAt: days ? new Date(Date.now() + days * DAY_MS).toISOString() : null,
  };
}

function MadeKey({ value, onDone }: { value: string; onDone: () => void }) {
  return (
    <div className="made">
      <label>
        Copy the key now, it is not shown again
        <input readOnly autoFocus value={value} onFocus={(event) => event.target.select()} />
      </label>
      <button type="button" onClick={onDone}>
        Done
      </button>
    </div>
  );
}

function KeyRow({ row, onRevoke }: { row: ApiKey; onRevoke: () => void }) {
  const used = row.lastUsedAt === null ? "never" : shown(row.lastUsedAt);
  const end = row.expiresAt === null ? "" : ` · ends ${shown(row.expiresAt)}`;
  return (
    <li>
      <div>
        <strong>{row.name}</strong> <code>{row.prefix}…</code>
        <p>{`${row.state} · ${row.scopes.join(", ")} · used ${used}${end}`}</p>
      </div>
      {row.state !== "revoked" && (
        <button
          type="button"
          className="stop"
          aria-label={`Revoke ${row.name}`}
          onClick={onRevoke}
        >
          Revoke
        </button>
      )}
    </li>
  );
}

function shown(moment: string): string {
  return new Date(moment).toLocaleString(undefined, {
    dateStyle: "medium",
    timeStyle: "short",
  });
}
