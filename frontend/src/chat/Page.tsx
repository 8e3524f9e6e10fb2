import { useEffect, useRef, useState } from "react";

import { useAccount, useInstructions } from "../account";
import { type LLMClient, useActivity, useConnection } from "../llm";
import { useConversations } from "../sidebar/useConversations";
import { BudgetNote } from "./BudgetNote";
import { ConnectionNote } from "./ConnectionNote";
import { Conversation } from "./Conversation";
import { useTouch } from "./media";
import {
  changesIn,
  useFreshOnReturn,
  useIsRestarting,
  usePageTitle,
  useReturns,
  useTitle,
} from "./pageState";
import { useShortcuts } from "./shortcuts";
import { ShortcutsDialog } from "./ShortcutsDialog";
import { Side } from "./Side";
import { Topbar } from "./Topbar";
import { usePicker } from "./useProviders";
import { useShownChat } from "./useShownChat";
import { useSidebarOpen } from "./useSidebarOpen";

/** The page of a logged-in user: conversations at the side, and one of them in full. */
export function Page({ client }: { client: LLMClient }) {
  const { user, session } = useAccount();
  const [instructions] = useInstructions();
  const { connection, connectionProblem } = useConnection(client);
  const returns = useReturns(connection);
  const picker = usePicker(`${session} ${returns}`);
  const shown = useShownChat(client);
  const activity = useActivity(client);
  const conversations = useConversations(`${session} ${returns} ${changesIn(activity)}`);
  const sidebar = useSidebarOpen();
  const [help, setHelp] = useState(false);
  const composer = useRef<HTMLTextAreaElement>(null);
  const searchBox = useRef<HTMLInputElement>(null);
  const title = useTitle(client, shown.key, conversations.list);
  const isRestarting = useIsRestarting(client, shown.key);
  const touch = useTouch();
  usePageTitle(title);
  useFreshOnReturn(client, shown.key);

  // On touch, focus would bring up the keyboard, over half of the page.
  const focusComposer = () => !touch && composer.current?.focus();
  useEffect(() => void focusComposer(), [shown.key, touch]);

  function startNew(): void {
    shown.startNew();
    sidebar.leave();
    focusComposer();
  }

  function search(): void {
    sidebar.setOpen(true);
    // Immediately if the box is shown, because what is typed next belongs there.
    searchBox.current?.focus();
    requestAnimationFrame(() => searchBox.current?.focus());
  }

  useShortcuts({
    onStop: () => client.stop(shown.key),
    onSearch: search,
    onNewChat: startNew,
    onFocusComposer: () => composer.current?.focus(),
    onHelp: () => setHelp(true),
  });

  return (
    <div className="shell" data-connection={connection}>
      <Side
        client={client}
        activity={activity}
        conversations={conversations}
        shown={shown}
        sidebar={sidebar}
        searchBox={searchBox}
        onNew={startNew}
        onShortcuts={() => setHelp(true)}
      />
      <main className="main">
        <Topbar
          title={title}
          sidebarOpen={sidebar.open}
          onToggleSidebar={() => sidebar.setOpen(!sidebar.open)}
          onNew={startNew}
        />
        <ConnectionNote
          state={connection}
          problem={connectionProblem}
          restarting={isRestarting}
        />
        <BudgetNote client={client} />
        <Conversation
          client={client}
          chatKey={shown.key}
          owner={String(user.id)}
          picker={picker}
          instructions={instructions}
          composer={composer}
        />
      </main>
      <ShortcutsDialog open={help} onClose={() => setHelp(false)} />
    </div>
  );
}
