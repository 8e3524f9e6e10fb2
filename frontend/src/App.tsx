import { useCallback, useEffect, useState } from "react";

import { forgetDrafts } from "./chat/drafts";
import { ownerOfDrafts } from "./chat/owner";
import { Page } from "./chat/Page";
import { isLoggedIn, LLMClient, LLMProvider, logOut, onLoggedOutElsewhere } from "./llm";
import { LogIn } from "./LogIn";

/** Nobody has logged in, somebody has, or their session has ended by itself. */
type Session = "none" | "open" | "ended";

/** The log-in page, or the chat of the logged-in user. */
export function App() {
  const [session, setSession] = useState<Session>(() => (isLoggedIn() ? "open" : "none"));
  const onEnded = useCallback(() => setSession("ended"), []);

  useEffect(() => onLoggedOutElsewhere(onEnded), [onEnded]);

  if (session !== "open") return <LogIn onLoggedIn={() => setSession("open")} />;
  return (
    <LoggedIn
      onEnded={onEnded}
      onLogOut={() => {
        logOut();
        forgetDrafts();
        setSession("none");
      }}
    />
  );
}

interface LoggedInProps {
  onEnded: () => void;
  onLogOut: () => void;
}

function LoggedIn({ onEnded, onLogOut }: LoggedInProps) {
  const [client] = useState(() => new LLMClient({ onLoggedOut: onEnded }));
  const [owner] = useState(ownerOfDrafts);
  return (
    <LLMProvider client={client}>
      <Page
        client={client}
        owner={owner}
        instructions=""
        onSettings={() => undefined}
        onLogOut={onLogOut}
      />
    </LLMProvider>
  );
}
