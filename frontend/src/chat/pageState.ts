/** What the page knows about the shown chat, without being redrawn for each token. */
import { useEffect, useRef, useState, useSyncExternalStore } from "react";

import type { Activity, Chat, ConnectionState, Conversation, LLMClient } from "../llm";

const NEW_CHAT = "New chat";
const TITLE_LENGTH = 80;

/** Returns the stored title or, until that is known, the first question. */
export function useTitle(client: LLMClient, key: string, stored: Conversation[]): string {
  const question = useSyncExternalStore(client.subscribe, () =>
    firstQuestion(client.getChat(key)),
  );
  const id = useSyncExternalStore(client.subscribe, () => client.getChat(key)?.conversationId);
  return stored.find((one) => one.id === id)?.title || question || NEW_CHAT;
}

/** Returns how often a lost connection came back; each time, data must be read again. */
export function useReturns(state: ConnectionState): number {
  const wasLost = useRef(false);
  const [returns, setReturns] = useState(0);
  useEffect(() => {
    if (state === "connected" && wasLost.current) setReturns((before) => before + 1);
    if (state !== "connecting") wasLost.current = state !== "connected";
  }, [state]);
  return returns;
}

/** Refreshes the chat when the user returns to the tab: it may have changed elsewhere. */
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

/** Sets the tab's title to that of the conversation. */
export function usePageTitle(title: string): void {
  useEffect(() => {
    document.title = title === NEW_CHAT ? "llmchat" : `${title} · llmchat`;
  }, [title]);
}

/** Returns whether the last answer broke off because the server is stopping. */
export function useIsRestarting(client: LLMClient, key: string): boolean {
  return useSyncExternalStore(
    client.subscribe,
    () => client.getChat(key)?.messages.at(-1)?.problem?.code === "draining",
  );
}

/** Returns a text that changes when an answer begins or ends in any conversation. */
export function changesIn(activity: readonly Activity[]): string {
  return activity
    .map(({ conversationId, running, endedAt }) => `${conversationId} ${running} ${endedAt}`)
    .join();
}

/** Drops the chat of a deleted conversation. */
export function forgetConversation(client: LLMClient, conversationId: string): void {
  const known = client.activity.find((one) => one.conversationId === conversationId);
  if (known?.chatKey) client.forget(known.chatKey);
}

function firstQuestion(chat: Chat | undefined): string {
  const question = chat?.messages.find(({ role }) => role === "user")?.content ?? "";
  const line = question.slice(0, 4 * TITLE_LENGTH).trim().split(/\s+/).join(" ");
  return line.length > TITLE_LENGTH ? `${line.slice(0, TITLE_LENGTH - 1)}…` : line;
}
