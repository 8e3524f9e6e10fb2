import { useState } from "react";

import { mayRegister } from "../page";
import { Button } from "../ui";
import type { Account } from "./account";
import { LogIn } from "./LogIn";
import { Register } from "./Register";

interface EntranceProps {
  account: Account;
  notice: string | null;
}

/** What a visitor sees who is not logged in: the log-in and, if allowed, registration. */
export function Entrance({ account, notice }: EntranceProps) {
  const [isNew, setIsNew] = useState(false);
  const Form = isNew ? Register : LogIn;
  return (
    <main className="entrance">
      <div className="entrance-card">
        <header>
          <p className="entrance-mark" aria-hidden="true">
            ¶
          </p>
          <h1>llmchat</h1>
          <p className="entrance-lead">
            {isNew ? "An account keeps your conversations." : "Ask, read, think."}
          </p>
        </header>
        {notice !== null && !isNew && (
          <p className="notice" role="status">
            {notice}
          </p>
        )}
        <Form onLoggedIn={account.load} />
        {mayRegister() && (
          <p className="entrance-switch">
            {isNew ? "Already have an account?" : "New here?"}{" "}
            <Button kind="quiet" size="s" onClick={() => setIsNew(!isNew)}>
              {isNew ? "Log in instead" : "Create an account"}
            </Button>
          </p>
        )}
      </div>
    </main>
  );
}
