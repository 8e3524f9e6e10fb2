import { type RefObject, useEffect, useRef, useState } from "react";

import { AccountProvider, useAccount } from "./account";
import { forgetDrafts } from "./chat/drafts";
import { Page } from "./chat/Page";
import { LLMClient, LLMProvider } from "./llm";

/** The log-in page, or the chats of the logged-in user. */
export function App() {
  const left = useRef(false);
  return (
    <AccountProvider
      onLeft={() => {
        left.current = true;
        forgetDrafts();
      }}
    >
      <Chats left={left} />
    </AccountProvider>
  );
}

/** Stays mounted while a session ends and another one of the same user begins. */
function Chats({ left }: { left: RefObject<boolean> }) {
  const { session, endSession } = useAccount();
  const [client] = useState(() => new LLMClient({ onLoggedOut: endSession }));

  const opened = useRef(session);

  useEffect(() => {
    if (opened.current === session) return;
    opened.current = session;
    client.close();
    client.open();
  }, [client, session]);

  // Another tab reports that its user leaves before the tokens are removed.
  useEffect(() => {
    left.current = false;
    return () => {
      if (left.current) client.close({ leaves: true });
    };
  }, [client, left]);

  return (
    <LLMProvider client={client}>
      <Page client={client} />
    </LLMProvider>
  );
}
