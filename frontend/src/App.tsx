import { useEffect, useRef, useState } from "react";

import { AccountProvider, useAccount } from "./account";
import { forgetDrafts } from "./chat/drafts";
import { Page } from "./chat/Page";
import { LLMClient, LLMProvider } from "./llm";

/** The way in, or the chats of the logged-in user. */
export function App() {
  return (
    <AccountProvider onLeft={forgetDrafts}>
      <Chats />
    </AccountProvider>
  );
}

/** Stays while a session ends and another one of the same user begins. */
function Chats() {
  const { session, endSession } = useAccount();
  const [client] = useState(() => new LLMClient({ onLoggedOut: endSession }));

  const opened = useRef(session);

  useEffect(() => {
    if (opened.current === session) return;
    opened.current = session;
    client.close();
    client.open();
  }, [client, session]);

  return (
    <LLMProvider client={client}>
      <Page client={client} />
    </LLMProvider>
  );
}
