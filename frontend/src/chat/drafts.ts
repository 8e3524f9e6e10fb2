/**
 * What was typed and not sent, for each conversation. It outlives a reload and the end of a
 * session, and belongs to one user. What is sent is kept by `untaken.ts`.
 */
import { useCallback, useEffect, useState } from "react";

const PREFIX = "llmchat-draft:";
const NEW_CHAT = "new";

/**
 * The drafts of one user; `owner` is whatever names the user. What is typed in a chat stays
 * when the server gives it its `conversationId`.
 */
export function useDraft(
  owner: string,
  chatKey: string,
  conversationId: string | null,
): [string, (text: string) => void] {
  const name = nameOf(owner, conversationId);
  const [draft, setDraft] = useState(() => ({ chatKey, name, text: read(name) }));
  const text = draft.chatKey === chatKey ? draft.text : read(name);

  const change = useCallback(
    (changed: string) => {
      setDraft({ chatKey, name, text: changed });
      write(name, changed, text);
    },
    [chatKey, name, text],
  );

  useEffect(() => {
    if (draft.chatKey !== chatKey || draft.name === name) return;
    write(draft.name, "", draft.text);
    change(draft.text);
  }, [draft, chatKey, name, change]);

  useEffect(() => {
    const onStorage = ({ key, oldValue, newValue }: StorageEvent) => {
      // Another tab has sent it: what stays here would be sent twice.
      const isSent = key === name && newValue === null && oldValue === text;
      if (isSent) setDraft({ chatKey, name, text: "" });
    };
    window.addEventListener("storage", onStorage);
    return () => window.removeEventListener("storage", onStorage);
  }, [chatKey, name, text]);

  return [text, change];
}

/** Called when a user logs out on purpose: the next one is not to read them. */
export function forgetDrafts(): void {
  const names = Object.keys(localStorage).filter((name) => name.startsWith(PREFIX));
  for (const name of names) localStorage.removeItem(name);
}

/** What the storage calls the draft of a conversation; null is a new one. */
export function nameOf(owner: string, conversationId: string | null): string {
  return `${PREFIX}${owner}:${conversationId ?? NEW_CHAT}`;
}

function read(name: string): string {
  return localStorage.getItem(name) ?? "";
}

/** Keeps a draft. An empty text leaves what another tab has written in the place of `before`. */
export function write(name: string, text: string, before: string): void {
  try {
    if (text !== "") localStorage.setItem(name, text);
    else if (read(name) === before) localStorage.removeItem(name);
  } catch {
    // The storage is full: the text stays on the screen.
  }
}
