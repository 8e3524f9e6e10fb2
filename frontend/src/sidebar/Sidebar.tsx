import { PenLine, Search } from "lucide-react";
import { type ReactNode, type RefObject, useEffect, useRef } from "react";

import type { Conversation } from "../llm";
import { Button, isComposing, Spinner } from "../ui";
import { ConversationRow } from "./ConversationRow";
import { grouped } from "./list";
import type { Mark } from "./useMarks";
import type { Conversations } from "./useConversations";
import type { Deletions } from "./useDeletions";

interface SidebarProps {
  conversations: Conversations;
  deletions: Deletions;
  marks: ReadonlyMap<string, Mark>;
  /** The id of the conversation that is shown. */
  shown: string | null;
  searchBox: RefObject<HTMLInputElement | null>;
  onOpen: (id: string) => void;
  onNew: () => void;
  onDelete: (id: string, title: string) => void;
  /** Shown at the bottom: the account. */
  children: ReactNode;
}

/** The user's conversations, the newest first. */
export function Sidebar(props: SidebarProps) {
  const { conversations, searchBox, onNew, children } = props;
  return (
    <nav className="sidebar" aria-label="Conversations">
      <div className="sidebar-head">
        <span className="wordmark">llmchat</span>
        <Button kind="secondary" className="new-chat" onClick={onNew}>
          <PenLine aria-hidden size={16} strokeWidth={1.75} />
          New chat
        </Button>
        <div className="search">
          <Search aria-hidden size={16} strokeWidth={1.75} />
          <input
            ref={searchBox}
            type="search"
            aria-label="Search conversations"
            placeholder="Search"
            value={conversations.search}
            onChange={(event) => conversations.setSearch(event.target.value)}
            onKeyDown={(event) => {
              if (event.key !== "Escape" || conversations.search === "") return;
              if (isComposing(event.nativeEvent)) return;
              event.preventDefault();
              conversations.setSearch("");
            }}
          />
        </div>
      </div>
      <List {...props} />
      <div className="sidebar-foot">{children}</div>
    </nav>
  );
}

function List(props: SidebarProps) {
  const { conversations, deletions, marks, shown, onOpen, onDelete } = props;
  const { list, hasMore, loadMore, rename } = conversations;
  const visible = list.filter(({ id }) => !deletions.isDeleted(id));
  return (
    <div className="sidebar-list">
      {grouped(visible).map((group) => (
        <section key={group.name} aria-label={group.name}>
          <h2>{group.name}</h2>
          <ul>
            {group.conversations.map((conversation) => (
              <ConversationRow
                key={conversation.id}
                conversation={conversation}
                mark={marks.get(conversation.id)}
                isShown={conversation.id === shown}
                onOpen={onOpen}
                onDelete={onDelete}
                onRename={rename}
              />
            ))}
          </ul>
        </section>
      ))}
      <Note conversations={conversations} isEmpty={visible.length === 0} />
      {hasMore && <More list={list} onReached={loadMore} />}
    </div>
  );
}

/** A text in place of the list, read aloud because a search changes it. */
function Note(props: { conversations: Conversations; isEmpty: boolean }) {
  const { loading, problem, search, refresh } = props.conversations;
  return (
    <div className="sidebar-note" role="status">
      {props.isEmpty && loading && <Spinner label="Loading conversations" />}
      {problem !== null && (
        <>
          <p>{problem}</p>
          <Button size="s" onClick={refresh}>
            Try again
          </Button>
        </>
      )}
      {props.isEmpty && !loading && problem === null && (
        <p>{search === "" ? "Your chats will be listed here." : `No conversation contains “${search}”.`}</p>
      )}
    </div>
  );
}

interface MoreProps {
  list: Conversation[];
  onReached: () => void;
}

/**
 * Loads more once it comes into view, and again if it is still in view when the list has
 * changed: a refresh of the list discards the page that was being loaded.
 */
function More({ list, onReached }: MoreProps) {
  const end = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = end.current;
    if (element === null) return;
    const observer = new IntersectionObserver(
      ([entry]) => entry?.isIntersecting && onReached(),
      { rootMargin: "200px" },
    );
    observer.observe(element);
    return () => observer.disconnect();
  }, [list, onReached]);
  return (
    <div ref={end} className="sidebar-note">
      <Spinner label="Loading more" />
    </div>
  );
}
