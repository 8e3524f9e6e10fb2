/** The user's conversations as the server lists them, a page at a time. */
import { useCallback, useEffect, useRef, useState } from "react";

import {
  type Conversation,
  type ConversationPage,
  listConversations,
  renameConversation,
} from "../llm";
import { withPage, withTitle } from "./list";

const PAGE = 50;
const MOST_AT_ONCE = 200;
const TYPING_MS = 200;

export interface Conversations {
  list: Conversation[];
  /** Whether nothing has arrived yet. */
  loading: boolean;
  problem: string | null;
  hasMore: boolean;
  search: string;
  setSearch: (search: string) => void;
  loadMore: () => void;
  /** Reads again what is shown. */
  refresh: () => void;
  /** If it rejects with ApiError, the old title is shown again. */
  rename: (id: string, title: string) => Promise<void>;
}

interface Loaded {
  list: Conversation[];
  cursor: string | null;
  loading: boolean;
  problem: string | null;
}

const NOTHING: Loaded = { list: [], cursor: null, loading: true, problem: null };

/** Loads the list, and reads it again when `marks` changes. */
export function useConversations(marks: string): Conversations {
  const [search, setSearch] = useState("");
  const [loaded, setLoaded] = useState(NOTHING);
  const current = useRef(loaded);
  current.current = loaded;
  /** Counts requests: only the response to the last one is used. */
  const turn = useRef(0);

  const read = useCallback(
    async (cursor: string | null, limit: number) => {
      const mine = ++turn.current;
      const show = (page: ConversationPage) =>
        setLoaded((before) => ({
          list: cursor === null ? page.results : withPage(before.list, page),
          cursor: page.cursor,
          loading: false,
          problem: null,
        }));
      try {
        const page = await listConversations({ search, cursor, limit });
        if (mine === turn.current) show(page);
      } catch (error) {
        const problem = (error as Error).message;
        if (mine === turn.current) {
          setLoaded((before) => ({ ...before, loading: false, problem }));
        }
      }
    },
    [search],
  );

  const refresh = useCallback(() => {
    const shown = current.current.list.length;
    void read(null, Math.min(MOST_AT_ONCE, Math.max(PAGE, shown)));
  }, [read]);

  useEffect(() => {
    if (search === "") {
      refresh();
      return;
    }
    const timer = window.setTimeout(refresh, TYPING_MS);
    return () => window.clearTimeout(timer);
  }, [refresh, search, marks]);

  useEffect(() => {
    // Another tab may have changed them in the meantime.
    const onVisible = () => document.visibilityState === "visible" && refresh();
    document.addEventListener("visibilitychange", onVisible);
    return () => document.removeEventListener("visibilitychange", onVisible);
  }, [refresh]);

  const rename = useCallback(async (id: string, title: string) => {
    const before = current.current.list.find((one) => one.id === id)?.title ?? "";
    const show = (text: string) =>
      setLoaded((now) => ({ ...now, list: withTitle(now.list, id, text) }));
    show(title);
    try {
      show((await renameConversation(id, title)).title);
    } catch (error) {
      show(before);
      throw error;
    }
  }, []);

  return {
    list: loaded.list,
    loading: loaded.loading,
    problem: loaded.problem,
    hasMore: loaded.cursor !== null,
    search,
    setSearch,
    loadMore: useCallback(() => {
      if (current.current.cursor !== null) void read(current.current.cursor, PAGE);
    }, [read]),
    refresh,
    rename,
  };
}
