/** What the page knows of the chat that it shows, without being drawn with each token. */
import { useEffect, useRef, useState, useSyncExternalStore } from "react";

import type { Activity, Chat, ConnectionState, Conversation, LLMClient } from "../llm";

const NEW_CHAT = "New chat";
const TITLE_LENGTH = 80;

/** The stored title, or until that is known the question. */
export function useTitle(client: LLMClient, key: string, stored: Conversation[]): string {
  const question = useSyncExternalStore(client.subscribe, () =>
    firstQuestion(client.getChat(key)),
  );
  const id = useSyncExternalStore(client.subscribe, () => client.getChat(key)?.conversationId);
  return stored.find((one) => one.id === id)?.title || question || NEW_CHAT;
}

/** How often a lost connection has come back: what was missed is to be read again. */
export function useReturns(state: ConnectionState): number {
  const wasLost = useRef(false);
  const [returns, setReturns] = useState(0);
  useEffect(() => {
    if (state === "connected" && wasLost.current) setReturns((before) => before + 1);
    if (state !== "connecting") wasLost.current = state !== "connected";
  }, [state]);
  return returns;
}

/** Whoever comes back to the tab sees what others have asked meanwhile. */
export function useFreshOnReturn(client: LLMClient, key: string): void {
  useEffect(() => {
    const refresh = () => {
      if (document.visibilityState === "hidden") return;
      client.reload(key);
      void client.lookForStreams();
    };
    window.addEventListener("focus", refresh);
    document.addEventListener("visibilitychange", refresh);
    return () => {
      window.removeEventListener("focus", refresh);
      document.removeEventListener("visibilitychange", refresh);
    };
  }, [client, key]);
}

/** Names the tab by the conversation. */
export function usePageTitle(title: string): void {
  useEffect(() => {
    document.title = title === NEW_CHAT ? "llmchat" : `${title} · llmchat`;
  }, [title]);
}

/** Whether the answer broke off because the server stops. */
export function useIsRestarting(client: LLMClient, key: string): boolean {
  return useSyncExternalStore(
    client.subscribe,
    () => client.getChat(key)?.messages.at(-1)?.problem?.code === "draining",
  );
}

/** Changes when a conversation begins, is answered or renamed by its first question. */
export function changesIn(activity: readonly Activity[]): string {
  return activity
    .map(({ conversationId, running, endedAt }) => `${conversationId} ${running} ${endedAt}`)
    .join();
}

/** Drops what is kept of a deleted conversation. */
export function forgetConversation(client: LLMClient, conversationId: string): void {
  const known = client.activity.find((one) => one.conversationId === conversationId);
  if (known?.chatKey) client.forget(known.chatKey);
}

function firstQuestion(chat: Chat | undefined): string {
  const question = chat?.messages.find(({ role }) => role === "user")?.content ?? "";
  const line = question.slice(0, 4 * TITLE_LENGTH).trim().split(/\s+/).join(" ");
  return line.length > TITLE_LENGTH ? `${line.slice(0, TITLE_LENGTH - 1)}…` : line;
}
