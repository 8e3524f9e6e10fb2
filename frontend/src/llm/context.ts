/** Gives components the page's client, and hooks that read from it. */
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

/** Keeps the client open while mounted; after that, answers continue for a while. */
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

/** Returns a chat; undefined once it is forgotten. */
export function useChat(client: LLMClient, key: string): Chat | undefined {
  return useRead(client, () => client.getChat(key));
}

/** Returns what happens in the conversations, for a list; tokens do not change it. */
export function useActivity(client: LLMClient): readonly Activity[] {
  return useRead(client, () => client.activity);
}

/** Returns the server's notice of a budget until it is dismissed, otherwise null. */
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

/** Reads from the client; when a server renders the page, it has not connected yet. */
function useRead<T>(client: LLMClient, read: () => T): T {
  return useSyncExternalStore(client.subscribe, read, read);
}
