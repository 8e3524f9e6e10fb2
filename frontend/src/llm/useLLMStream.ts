/** One chat in a component, on the page's client or on one of its own. */
import { useEffect, useMemo, useRef, useState } from "react";

import { emptyChat } from "./chat";
import { type ClientOptions, LLMClient } from "./client";
import { useChat, useClient, useConnection } from "./context";
import type { AskOptions, Chat, ConnectionState, Problem } from "./types";

export interface LLMStreamOptions extends ClientOptions {
  /** An open client; by default that of the surrounding `LLMProvider`, or a new one. */
  client?: LLMClient;
  /** The key of a chat of the client, which is kept; by default a new chat. */
  chat?: string;
  /**
   * For a client of the hook's own: whether unmounting stops the answers, as by default. If
   * not, they continue for as long as the server waits for a lost connection.
   */
  stopOnUnmount?: boolean;
}

export interface LLMStream {
  chat: Chat;
  connection: ConnectionState;
  /** Why the server refuses the connection, while it does. */
  connectionProblem: Problem | null;
  /** Returns false, and does nothing, if the chat is not loaded or is being answered. */
  ask: (text: string, options: AskOptions) => boolean;
  stop: () => void;
  /** Asks the last question again; `options` are by default those of the last time. */
  regenerate: (options?: AskOptions) => boolean;
  retry: (options?: AskOptions) => boolean;
  /** Asks the question with this key again, with another text. */
  edit: (messageKey: string, text: string, options?: AskOptions) => boolean;
  continueAnswer: (options?: AskOptions) => boolean;
  /** Shows an empty chat; an answer that is being written is stopped. */
  clear: () => void;
  /** Shows a stored conversation. */
  open: (conversationId: string) => void;
}

export function useLLMStream(options: LLMStreamOptions = {}): LLMStream {
  const client = useGivenOrOwnClient(options);
  const [ownKey, setOwnKey] = useState(() => options.chat ?? client.newChat());
  const key = options.chat ?? ownKey;
  const empty = useMemo(() => emptyChat(key), [key]);
  const chat = useChat(client, key) ?? empty;
  const { connection, connectionProblem } = useConnection(client);
  const actions = useMemo(() => actionsOf(client, key, setOwnKey), [client, key]);
  return { chat, connection, connectionProblem, ...actions };
}

type Actions = Omit<LLMStream, "chat" | "connection" | "connectionProblem">;

function actionsOf(
  client: LLMClient,
  key: string,
  show: (key: string) => void,
): Actions {
  return {
    ask: (text, options) => client.ask(key, text, options),
    stop: () => client.stop(key),
    regenerate: (options) => client.regenerate(key, options),
    retry: (options) => client.retry(key, options),
    edit: (messageKey, text, options) => client.edit(key, messageKey, text, options),
    continueAnswer: (options) => client.continueAnswer(key, options),
    clear: () => {
      client.stop(key);
      show(client.newChat());
    },
    open: (conversationId) => show(client.openChat(conversationId)),
  };
}

/** Returns the given client, or one of the hook's own, open while it is mounted. */
function useGivenOrOwnClient(options: LLMStreamOptions): LLMClient {
  const around = useClient();
  const given = options.client ?? around;
  const { stopOnUnmount: stop = true } = options;
  const own = useOwnClient(options);
  const client = given ?? own;

  useEffect(() => {
    if (given !== null) return;
    own.open();
    return () => own.close({ stop });
  }, [given, own, stop]);

  return client;
}

function useOwnClient(options: ClientOptions): LLMClient {
  const latest = useRef(options);
  latest.current = options;
  const [own] = useState(
    () => new LLMClient({ ...options, onLoggedOut: () => latest.current.onLoggedOut?.() }),
  );
  return own;
}
