import { useState } from "react";

import { FormProblem, Spinner } from "../../ui";
import { KeyForm } from "./KeyForm";
import { KeyRow } from "./KeyRow";
import { useKeys } from "./keys";
import { MadeKey } from "./MadeKey";

/** The keys that the user's own programs use instead of the password. */
export function ApiKeys() {
  const { keys, problem, make, revoke } = useKeys();
  const [made, setMade] = useState<string | null>(null);
  return (
    <>
      <p className="hint">
        A key lets a program ask questions in your name, without your password. What it
        costs counts as yours.
      </p>
      {made === null ? (
        <KeyForm onMake={async (wanted) => setMade(await make(wanted))} />
      ) : (
        <MadeKey value={made} onDone={() => setMade(null)} />
      )}
      <FormProblem>{problem}</FormProblem>
      {keys === null && problem === null && <Spinner label="Loading keys" />}
      {keys?.length === 0 && <p className="hint">You have no keys yet.</p>}
      <ul className="keys" aria-label="Your keys">
        {keys?.map((key) => (
          <KeyRow key={key.id} row={key} onRevoke={() => revoke(key)} />
        ))}
      </ul>
    </>
  );
}
