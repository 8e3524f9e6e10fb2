import { useState } from "react";

import { Button, FormProblem, SelectField, TextField } from "../../ui";
import { useAccount } from "../context";
import { useForm } from "../useForm";
import { type NewKey, SCOPES } from "./keys";

const FIELDS = ["name", "days", "scopes"];
const LIVES: [days: string, text: string][] = [
  ["30", "30 days"],
  ["90", "90 days"],
  ["365", "A year"],
  ["", "Until revoked"],
];

export function KeyForm({ onMake }: { onMake: (wanted: NewKey) => Promise<void> }) {
  const { endSession } = useAccount();
  const [scopes, setScopes] = useState(["chat", "read"]);
  const { ref, onSubmit, busy, errors } = useForm({
    fields: FIELDS,
    onSessionEnded: endSession,
    submit: ({ name = "", days = "" }) =>
      onMake({ name, scopes, days: days === "" ? null : Number(days) }),
  });

  function toggle(scope: string, on: boolean): void {
    setScopes(on ? [...scopes, scope] : scopes.filter((other) => other !== scope));
  }

  return (
    <form ref={ref} className="form key-form" onSubmit={onSubmit}>
      <TextField
        label="Name"
        name="name"
        maxLength={100}
        placeholder="nightly report"
        autoComplete="off"
        required
        error={errors["name"]}
      />
      <SelectField label="Valid for" name="days" defaultValue="90" error={errors["days"]}>
        {LIVES.map(([days, text]) => (
          <option key={days} value={days}>
            {text}
          </option>
        ))}
      </SelectField>
      <fieldset>
        <legend>The key can</legend>
        {SCOPES.map(([scope, text]) => (
          <label key={scope} className="check">
            <input
              type="checkbox"
              checked={scopes.includes(scope)}
              onChange={(event) => toggle(scope, event.target.checked)}
            />
            <span>
              {text} <code>{scope}</code>
            </span>
          </label>
        ))}
      </fieldset>
      <FormProblem>{errors["scopes"] ?? errors[""]}</FormProblem>
      <Button type="submit" kind="primary" busy={busy}>
        Create a key
      </Button>
    </form>
  );
}
