/**
 * Conversations that are deleted but can still be restored. The request is sent when the
 * message with *Undo* disappears. Hiding or leaving the page also removes the message: a
 * phone closes hidden pages, and the next user who logs in must not see it.
 */
import { useCallback, useEffect, useRef, useState } from "react";

import { accessToken, ApiError, deleteConversation } from "../llm";
import { useToast } from "../ui";

export interface Deletions {
  isDeleted: (id: string) => boolean;
  /** `onUndo` is called if the conversation is restored. */
  remove: (id: string, title: string, onUndo: () => void) => void;
}

/** A deletion that was not yet sent to the server. */
interface Pending {
  /** The token of the user who deletes it; they may log out before it is sent. */
  token: Promise<string | null>;
  takeMessageAway: () => void;
}

export function useDeletions(onDeleted: (id: string) => void): Deletions {
  const toast = useToast();
  const [deleted, setDeleted] = useState<ReadonlySet<string>>(new Set());
  const pending = useRef(new Map<string, Pending>());

  useEffect(() => onHidden(() => takeMessagesAway(pending.current.values())), []);

  // When unmounted, send what is pending; there is no one left to show a failure to.
  useEffect(
    () => () => {
      const left = new Map(pending.current);
      pending.current.clear();
      takeMessagesAway(left.values());
      for (const [id, one] of left) send(id, one).catch(() => undefined);
    },
    [],
  );

  const forget = useCallback((id: string) => {
    pending.current.delete(id);
    setDeleted((before) => new Set([...before].filter((one) => one !== id)));
  }, []);

  const commit = useCallback(
    async (id: string) => {
      const one = pending.current.get(id);
      if (one === undefined) return;
      pending.current.delete(id);
      try {
        await send(id, one);
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
    setDeleted((before) => new Set([...before, id]));
    const undo = () => {
      forget(id);
      onUndo();
    };
    const token = accessToken().catch(() => null);
    const takeMessageAway = toast({
      text: `Deleted “${title}”.`,
      action: { label: "Undo", run: undo },
      onGone: () => void commit(id),
    });
    pending.current.set(id, { token, takeMessageAway });
  }

  return { isDeleted: (id) => deleted.has(id), remove };
}

async function send(id: string, { token }: Pending): Promise<void> {
  await deleteConversation(id, (await token) ?? undefined);
}

function takeMessagesAway(pending: Iterable<Pending>): void {
  for (const { takeMessageAway } of [...pending]) takeMessageAway();
}

/** Calls back when the page is hidden or left. Returns the function that ends that. */
function onHidden(callback: () => void): () => void {
  const onChange = () => document.visibilityState === "hidden" && callback();
  document.addEventListener("visibilitychange", onChange);
  window.addEventListener("pagehide", callback);
  return () => {
    document.removeEventListener("visibilitychange", onChange);
    window.removeEventListener("pagehide", callback);
  };
}
