/** The user's own instructions, which begin each new chat; stored in this browser. */
import { useSyncExternalStore } from "react";

import { useAccount } from "./context";

/** The limit in characters, as JavaScript counts them. */
export const INSTRUCTIONS_LIMIT = 4000;

/** Returns the instructions, "" if there are none, and the function that sets them. */
export function useInstructions(): [string, (text: string) => void] {
  const { user } = useAccount();
  const key = `llmchat.instructions.${user.id}`;
  const text = useSyncExternalStore(subscribe, () => localStorage.getItem(key) ?? "");
  return [text, (changed) => keep(key, changed)];
}

const listeners = new Set<() => void>();

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  window.addEventListener("storage", listener);
  return () => {
    listeners.delete(listener);
    window.removeEventListener("storage", listener);
  };
}

function keep(key: string, text: string): void {
  if (text.trim() === "") localStorage.removeItem(key);
  else localStorage.setItem(key, text.slice(0, INSTRUCTIONS_LIMIT));
  for (const listener of listeners) listener();
}
