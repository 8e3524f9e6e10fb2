/**
 * What was typed and not sent, for each conversation. It outlives a reload and the end
 * of a session, and belongs to one user.
 */
import { useCallback, useEffect, useState } from "react";

const PREFIX = "llmchat-draft:";
const NEW_CHAT = "new";

/** The drafts of one user; `owner` is whatever names the user. */
export function useDraft(
  owner: string,
  conversationId: string | null,
): [string, (text: string) => void] {
  const name = nameOf(owner, conversationId);
  const [draft, setDraft] = useState(() => ({ name, text: read(name) }));
  const text = draft.name === name ? draft.text : read(name);

  const change = useCallback(
    (changed: string) => {
      setDraft({ name, text: changed });
      write(name, changed);
    },
    [name],
  );

  useEffect(() => {
    const onStorage = ({ key, newValue }: StorageEvent) => {
      // Another tab has sent it: what stays here would be sent twice.
      if (key === name && newValue === null) setDraft({ name, text: "" });
    };
    window.addEventListener("storage", onStorage);
    return () => window.removeEventListener("storage", onStorage);
  }, [name]);

  return [text, change];
}

/** Called when a user logs out on purpose: the next one is not to read them. */
export function forgetDrafts(): void {
  const names = Object.keys(localStorage).filter((name) => name.startsWith(PREFIX));
  for (const name of names) localStorage.removeItem(name);
}

function nameOf(owner: string, conversationId: string | null): string {
  return `${PREFIX}${owner}:${conversationId ?? NEW_CHAT}`;
}

function read(name: string): string {
  return localStorage.getItem(name) ?? "";
}

function write(name: string, text: string): void {
  try {
    if (text === "") localStorage.removeItem(name);
    else localStorage.setItem(name, text);
  } catch {
    // The storage is full: the text stays on the screen.
  }
}
