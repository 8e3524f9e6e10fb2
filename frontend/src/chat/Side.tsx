import { type RefObject, useCallback } from "react";

import { AccountMenu } from "../account";
import { type Activity, type LLMClient } from "../llm";
import { Drawer } from "../sidebar/Drawer";
import { Sidebar } from "../sidebar/Sidebar";
import type { Conversations } from "../sidebar/useConversations";
import { useDeletions } from "../sidebar/useDeletions";
import { useMarks } from "../sidebar/useMarks";
import { forgetConversation } from "./pageState";
import { goTo } from "./route";
import type { ShownChat } from "./useShownChat";
import type { SidebarState } from "./useSidebarOpen";

interface SideProps {
  client: LLMClient;
  activity: readonly Activity[];
  conversations: Conversations;
  shown: ShownChat;
  sidebar: SidebarState;
  searchBox: RefObject<HTMLInputElement | null>;
  onNew: () => void;
  onShortcuts: () => void;
}

/** The list of conversations: next to the one that is shown, or in a drawer over it. */
export function Side(props: SideProps) {
  const { client, activity, conversations, shown, sidebar, searchBox } = props;
  const marks = useMarks(activity, shown.conversationId);
  const deletions = useDeletions(
    useCallback((id: string) => forgetConversation(client, id), [client]),
  );

  function remove(id: string, name: string): void {
    const wasShown = id === shown.conversationId;
    deletions.remove(id, name, () => wasShown && goTo(id));
    if (wasShown) shown.startNew();
  }

  const list = (
    <Sidebar
      conversations={conversations}
      deletions={deletions}
      marks={marks}
      shown={shown.conversationId}
      searchBox={searchBox}
      onOpen={(id) => {
        goTo(id);
        sidebar.leave();
      }}
      onNew={props.onNew}
      onDelete={remove}
    >
      <AccountMenu onShortcuts={props.onShortcuts} onLeave={sidebar.leave} />
    </Sidebar>
  );
  if (sidebar.wide) return sidebar.open && list;
  return (
    <Drawer open={sidebar.open} onClose={sidebar.leave}>
      {list}
    </Drawer>
  );
}
