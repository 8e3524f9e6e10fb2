import { useCallback, useEffect, useRef, useState } from "react";

import { AccountMenu, useAccount, useInstructions } from "../account";
import { type LLMClient, useActivity, useConnection } from "../llm";
import { Drawer } from "../sidebar/Drawer";
import { Sidebar } from "../sidebar/Sidebar";
import { useConversations } from "../sidebar/useConversations";
import { useDeletions } from "../sidebar/useDeletions";
import { useMarks } from "../sidebar/useMarks";
import { ConnectionNote } from "./ConnectionNote";
import { Conversation } from "./Conversation";
import { useTouch } from "./media";
import {
  changesIn,
  forgetConversation,
  NEW_CHAT,
  useIsRestarting,
  useTitle,
} from "./pageState";
import { goTo } from "./route";
import { useShortcuts } from "./shortcuts";
import { ShortcutsDialog } from "./ShortcutsDialog";
import { Topbar } from "./Topbar";
import { usePicker } from "./useProviders";
import { useShownChat } from "./useShownChat";
import { useSidebarOpen } from "./useSidebarOpen";

/** The page of whoever is logged in: conversations at the side, one of them in full. */
export function Page({ client }: { client: LLMClient }) {
  const { user, session } = useAccount();
  const [instructions] = useInstructions();
  const { connection, connectionProblem } = useConnection(client);
  const isConnected = connection === "connected";
  const picker = usePicker(isConnected);
  const shown = useShownChat(client);
  const activity = useActivity(client);
  const marks = useMarks(activity, shown.conversationId);
  const conversations = useConversations(`${session} ${changesIn(activity)}`);
  const deletions = useDeletions(
    useCallback((id: string) => forgetConversation(client, id), [client]),
  );
  const sidebar = useSidebarOpen();
  const touch = useTouch();
  const [help, setHelp] = useState(false);
  const composer = useRef<HTMLTextAreaElement>(null);
  const searchBox = useRef<HTMLInputElement>(null);
  const title = useTitle(client, shown.key, conversations.list);
  const isRestarting = useIsRestarting(client, shown.key);

  useEffect(() => {
    document.title = title === NEW_CHAT ? "llmchat" : `${title} · llmchat`;
  }, [title]);

  useEffect(() => {
    if (!touch) composer.current?.focus();
  }, [shown.key, touch]);

  const leaveDrawer = () => !sidebar.wide && sidebar.setOpen(false);

  function open(id: string): void {
    goTo(id);
    leaveDrawer();
  }

  function startNew(): void {
    shown.startNew();
    leaveDrawer();
    if (!touch) composer.current?.focus();
  }

  function remove(id: string, name: string): void {
    const wasShown = id === shown.conversationId;
    deletions.remove(id, name, () => wasShown && goTo(id));
    if (wasShown) shown.startNew();
  }

  useShortcuts({
    onStop: () => client.stop(shown.key),
    onSearch: () => {
      sidebar.setOpen(true);
      requestAnimationFrame(() => searchBox.current?.focus());
    },
    onNewChat: startNew,
    onFocusComposer: () => composer.current?.focus(),
    onHelp: () => setHelp(true),
  });

  const side = (
    <Sidebar
      conversations={conversations}
      deletions={deletions}
      marks={marks}
      shown={shown.conversationId}
      searchBox={searchBox}
      onOpen={open}
      onNew={startNew}
      onDelete={remove}
    >
      <AccountMenu onShortcuts={() => setHelp(true)} />
    </Sidebar>
  );

  return (
    <div className="shell" data-connection={connection}>
      {sidebar.wide && sidebar.open && side}
      {!sidebar.wide && (
        <Drawer open={sidebar.open} onClose={() => sidebar.setOpen(false)}>
          {side}
        </Drawer>
      )}
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
        <Conversation
          client={client}
          chatKey={shown.key}
          conversationId={shown.conversationId}
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
