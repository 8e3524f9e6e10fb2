/**
 * What was typed but not sent, for each conversation. It outlives a reload and the end of a
 * session, and belongs to one user. What was sent is kept by `untaken.ts`.
 */
import { useCallback, useEffect, useState } from "react";

const PREFIX = "llmchat-draft:";
const NEW_CHAT = "new";

/**
 * Returns the draft of a chat, and the function that changes it. `owner` identifies the
 * user. A draft stays when the server assigns the chat its `conversationId`.
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
      // Another tab has sent the draft: if it stayed here, it might be sent twice.
      const isSent = key === name && newValue === null && oldValue === text;
      if (isSent) setDraft({ chatKey, name, text: "" });
    };
    window.addEventListener("storage", onStorage);
    return () => window.removeEventListener("storage", onStorage);
  }, [chatKey, name, text]);

  return [text, change];
}

/** Called when a user logs out on purpose: the next user must not see the drafts. */
export function forgetDrafts(): void {
  const names = Object.keys(localStorage).filter((name) => name.startsWith(PREFIX));
  for (const name of names) localStorage.removeItem(name);
}

/** The storage's key of a conversation's draft; null means a new conversation. */
export function nameOf(owner: string, conversationId: string | null): string {
  return `${PREFIX}${owner}:${conversationId ?? NEW_CHAT}`;
}

function read(name: string): string {
  return localStorage.getItem(name) ?? "";
}

/** Stores a draft. An empty text removes `before`, but not what another tab wrote since. */
export function write(name: string, text: string, before: string): void {
  try {
    if (text !== "") localStorage.setItem(name, text);
    else if (read(name) === before) localStorage.removeItem(name);
  } catch {
    // The storage is full: the text stays on the screen.
  }
}
