/** The conversation in the page's address: `/c/<id>`, or `/` for a new chat. */
import { useSyncExternalStore } from "react";

import { basePath } from "../page";

const CONVERSATION = /\/c\/([^/]+)\/?$/;
const listeners = new Set<() => void>();

export function conversationInAddress(): string | null {
  const found = CONVERSATION.exec(location.pathname);
  return found?.[1] === undefined ? null : decodeURIComponent(found[1]);
}

export function addressOf(conversationId: string | null): string {
  if (conversationId === null) return `${basePath()}/`;
  return `${basePath()}/c/${encodeURIComponent(conversationId)}`;
}

/** Shows another conversation; null is a new chat. `replace` adds no history entry. */
export function goTo(conversationId: string | null, how: "push" | "replace" = "push"): void {
  const address = addressOf(conversationId);
  if (address === location.pathname) return;
  if (how === "push") history.pushState(null, "", address);
  else history.replaceState(null, "", address);
  for (const listener of listeners) listener();
}

export function useConversationInAddress(): string | null {
  return useSyncExternalStore(subscribe, conversationInAddress);
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  window.addEventListener("popstate", listener);
  return () => {
    listeners.delete(listener);
    window.removeEventListener("popstate", listener);
  };
}
