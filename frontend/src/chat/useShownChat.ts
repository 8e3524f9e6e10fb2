/** Which of the client's chats is shown: the one that the address names. */
import { useCallback, useLayoutEffect, useState, useSyncExternalStore } from "react";

import type { LLMClient } from "../llm";
import { conversationInAddress, goTo, useConversationInAddress } from "./route";

export interface ShownChat {
  key: string;
  /** Null of a chat that the server does not know yet. */
  conversationId: string | null;
  /** Shows an empty chat; answers that are being written go on. */
  startNew: () => void;
}

/** The address follows a chat that gets its name. */
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
    // Its conversation was deleted here, and come back to before the server knew.
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
    // One whose conversation has been deleted elsewhere has no name either.
    setKey(client.newChat());
    goTo(null);
  }, [client]);

  return { key, conversationId: conversationId ?? address, startNew };
}

function open(client: LLMClient, conversationId: string | null): string {
  return conversationId === null ? client.newChat() : client.openChat(conversationId);
}
