/** The page's client for its components, and what they read of it. */
import {
  createContext,
  createElement,
  type ReactNode,
  useContext,
  useEffect,
  useSyncExternalStore,
} from "react";

import type { LLMClient } from "./client";
import type { Activity, BudgetNotice, Chat, ConnectionState, Problem } from "./types";

const Context = createContext<LLMClient | null>(null);

interface LLMProviderProps {
  client: LLMClient;
  children?: ReactNode;
}

/** Keeps the client open while it is mounted; answers go on for a while when it is not. */
export function LLMProvider({ client, children }: LLMProviderProps) {
  useEffect(() => {
    client.open();
    return () => client.close();
  }, [client]);
  return createElement(Context.Provider, { value: client }, children);
}

/** The client of the `LLMProvider` around, or null. */
export function useClient(): LLMClient | null {
  return useContext(Context);
}

/** Undefined once the chat is forgotten. */
export function useChat(client: LLMClient, key: string): Chat | undefined {
  return useRead(client, () => client.getChat(key));
}

/** What happens in the conversations, for a list of them; not changed by each token. */
export function useActivity(client: LLMClient): readonly Activity[] {
  return useRead(client, () => client.activity);
}

/** What the server has said of a budget, until it is dismissed; else null. */
export function useBudgetNotice(client: LLMClient): BudgetNotice | null {
  return useRead(client, () => client.budgetNotice);
}

export function useConnection(client: LLMClient): {
  connection: ConnectionState;
  connectionProblem: Problem | null;
} {
  const connection = useRead(client, () => client.connection);
  const connectionProblem = useRead(client, () => client.connectionProblem);
  return { connection, connectionProblem };
}

/** On a server that renders pages, the client is one that has not connected yet. */
function useRead<T>(client: LLMClient, read: () => T): T {
  return useSyncExternalStore(client.subscribe, read, read);
}
