/** The client's chat that is shown: the one of the conversation in the address. */
import { useCallback, useLayoutEffect, useState, useSyncExternalStore } from "react";

import type { LLMClient } from "../llm";
import { conversationInAddress, goTo, useConversationInAddress } from "./route";

export interface ShownChat {
  key: string;
  /** Null for a chat that the server does not know yet. */
  conversationId: string | null;
  /** Shows an empty chat; answers that are being written continue. */
  startNew: () => void;
}

/** Returns the shown chat; updates the address when a new chat gets its conversation. */
export function useShownChat(client: LLMClient): ShownChat {
  const address = useConversationInAddress();
  const [key, setKey] = useState(() => open(client, address));
  const conversationId = useSyncExternalStore(
    client.subscribe,
    () => client.getChat(key)?.conversationId ?? null,
  );

  const isForgotten = useSyncExternalStore(
    client.subscribe,
    () => client.getChat(key) === undefined,
  );

  useLayoutEffect(() => {
    if (!isForgotten) return;
    // Its conversation was deleted here, and opened again before the server deleted it.
    setKey(client.newChat());
    goTo(null, "replace");
  }, [client, isForgotten]);

  useLayoutEffect(() => {
    const shown = client.getChat(key)?.conversationId ?? null;
    if (shown !== address) setKey(open(client, address));
  }, [client, address]);

  useLayoutEffect(() => {
    if (conversationId !== null && conversationId !== conversationInAddress()) {
      goTo(conversationId, "replace");
    }
  }, [key, conversationId]);

  const startNew = useCallback(() => {
    // Always a new one: a chat whose conversation was deleted elsewhere has no id, either.
    setKey(client.newChat());
    goTo(null);
  }, [client]);

  return { key, conversationId: conversationId ?? address, startNew };
}

function open(client: LLMClient, conversationId: string | null): string {
  return conversationId === null ? client.newChat() : client.openChat(conversationId);
}
