import { type RefObject, useEffect, useRef, useState } from "react";

import { AccountProvider, useAccount } from "./account";
import { forgetDrafts } from "./chat/drafts";
import { Page } from "./chat/Page";
import { LLMClient, LLMProvider } from "./llm";

/** The way in, or the chats of the logged-in user. */
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

/** Stays while a session ends and another one of the same user begins. */
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

  // Another tab tells that its user leaves before the tokens have gone from this one.
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
