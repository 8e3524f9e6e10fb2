/**
 * Conversations that are deleted but can still be brought back. The server is told when
 * the message with *Undo* goes, or when the page does.
 */
import { useCallback, useEffect, useRef, useState } from "react";

import { accessToken, ApiError, deleteConversation } from "../llm";
import { baseUrl } from "../llm/api";
import { useToast } from "../ui";

export interface Deletions {
  isDeleted: (id: string) => boolean;
  /** `onUndo` is called if it is brought back. */
  remove: (id: string, title: string, onUndo: () => void) => void;
}

export function useDeletions(onDeleted: (id: string) => void): Deletions {
  const toast = useToast();
  const [deleted, setDeleted] = useState<ReadonlySet<string>>(new Set());
  /** Those that the server does not know of yet. */
  const pending = useRef(new Set<string>());

  useEffect(() => {
    const send = () => {
      for (const id of pending.current) deleteOnTheWayOut(id);
      pending.current.clear();
    };
    window.addEventListener("pagehide", send);
    return () => window.removeEventListener("pagehide", send);
  }, []);

  const forget = useCallback((id: string) => {
    pending.current.delete(id);
    setDeleted((before) => new Set([...before].filter((one) => one !== id)));
  }, []);

  const commit = useCallback(
    async (id: string) => {
      if (!pending.current.delete(id)) return;
      try {
        await deleteConversation(id);
        onDeleted(id);
      } catch (error) {
        const isGone = error instanceof ApiError && error.status === 404;
        if (isGone) return;
        forget(id);
        toast({ text: "The conversation could not be deleted." });
      }
    },
    [forget, onDeleted, toast],
  );

  function remove(id: string, title: string, onUndo: () => void): void {
    pending.current.add(id);
    setDeleted((before) => new Set([...before, id]));
    const undo = () => {
      forget(id);
      onUndo();
    };
    toast({
      text: `Deleted “${title}”.`,
      action: { label: "Undo", run: undo },
      onGone: () => void commit(id),
    });
  }

  return { isDeleted: (id) => deleted.has(id), remove };
}

/** The request goes on behind a page that is closed. */
function deleteOnTheWayOut(id: string): void {
  void accessToken().then((token) => {
    const headers = { Authorization: `Bearer ${token}` };
    const path = `${baseUrl}/llm/conversations/${encodeURIComponent(id)}`;
    return fetch(path, { method: "DELETE", headers, keepalive: true });
  });
}
