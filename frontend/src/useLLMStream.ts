/**
 * The chat of the logged-in user over Socket.IO: one socket, one answer at a time.
 *
 * The socket reconnects automatically, with a valid token each time. If the server
 * recovers the connection, the answer continues; otherwise the text so far is kept,
 * and the chat shows an error.
 */
import { useCallback, useEffect, useReducer, useRef, useState } from "react";
import { io, type Socket } from "socket.io-client";

import { baseUrl } from "./api";
import { type Chat, type ChatEvent, type ChatMessage, emptyChat, reduceChat } from "./chat";
import { accessToken, hasExpired } from "./session";

export type ConnectionState = "connecting" | "connected" | "disconnected";

interface TokenEvent {
  sessionId: string;
  token: string;
}
interface DoneEvent {
  sessionId: string;
  fullResponse: string;
}
interface ErrorEvent {
  sessionId: string | null;
  error: string;
  code?: string;
  partialResponse?: string | undefined;
}
interface CancelledEvent {
  sessionId: string;
  partialResponse?: string | undefined;
}
interface ServerEvents {
  "llm:stream:token": (event: TokenEvent) => void;
  "llm:stream:done": (event: DoneEvent) => void;
  "llm:stream:error": (event: ErrorEvent) => void;
  "llm:stream:cancelled": (event: CancelledEvent) => void;
}
interface ClientEvents {
  "llm:chat:stream": (request: {
    sessionId: string;
    provider: string;
    messages: ChatMessage[];
  }) => void;
  "llm:stream:cancel": (request: { sessionId: string }) => void;
}
/** The server's CONNECT_ERROR. */
interface Refusal extends Error {
  data?: { code?: string };
}
type ChatSocket = Socket<ServerEvents, ClientEvents>;

const RETRY_MS = 2000;

export interface LLMStream {
  chat: Chat;
  connection: ConnectionState;
  send: (provider: string, text: string) => void;
  stop: () => void;
  clear: () => void;
}

/** `onLoggedOut` is called when the server rejects both tokens. */
export function useLLMStream(onLoggedOut: () => void): LLMStream {
  const [chat, dispatch] = useReducer(reduceChat, emptyChat);
  const [connection, setConnection] = useState<ConnectionState>("connecting");
  const socketRef = useRef<ChatSocket | null>(null);
  const tokenRef = useRef<string | undefined>(undefined);
  const chatRef = useRef(chat);
  chatRef.current = chat;

  useEffect(() => {
    let refused: string | undefined;
    let retryTimer: number | undefined;
    const options = { auth: giveToken, forceNew: true };
    const socket: ChatSocket = baseUrl === "" ? io(options) : io(baseUrl, options);
    socketRef.current = socket;

    async function giveToken(give: (auth: { token?: string }) => void): Promise<void> {
      try {
        const token = await accessToken(refused);
        if (token === null) {
          onLoggedOut();
          return;
        }
        tokenRef.current = token;
        give({ token });
      } catch {
        connectLater(); // no fresh token could be fetched now: ask again soon
      }
    }

    function connectLater(): void {
      window.clearTimeout(retryTimer);
      retryTimer = window.setTimeout(() => {
        socket.disconnect().connect();
      }, RETRY_MS);
    }

    let lostAnswer = false;
    socket.on("connect", () => {
      refused = undefined;
      setConnection("connected");
      if (lostAnswer && !socket.recovered) dispatch({ type: "lost" });
      lostAnswer = false;
    });
    socket.on("disconnect", (reason) => {
      setConnection("disconnected");
      lostAnswer = chatRef.current.answer !== null;
      if (reason === "io server disconnect") connectLater();
    });
    socket.on("connect_error", (error: Refusal) => {
      setConnection("disconnected");
      if (socket.active) return; // the network: socket.io tries again by itself
      if (error.data?.code?.startsWith("token_")) refused = tokenRef.current;
      connectLater();
    });
    const stopAnswering = listen(socket, dispatch);

    return () => {
      const running = chatRef.current.answer;
      if (running !== null && socket.connected) {
        socket.emit("llm:stream:cancel", { sessionId: running.sessionId });
      }
      window.clearTimeout(retryTimer);
      stopAnswering();
      socket.off();
      socket.disconnect();
      socketRef.current = null;
    };
  }, [onLoggedOut]);

  const send = useCallback((provider: string, text: string) => {
    const socket = socketRef.current;
    const { messages, answer } = chatRef.current;
    if (socket === null || answer !== null) return;
    if (tokenRef.current !== undefined && hasExpired(tokenRef.current)) {
      socket.disconnect().connect(); // what is emitted now waits for the connection
    }
    const sessionId = newSessionId();
    const history: ChatMessage[] = [...messages, { role: "user", content: text }];
    dispatch({ type: "asked", sessionId, messages: history });
    socket.emit("llm:chat:stream", { sessionId, provider, messages: history });
  }, []);

  const stop = useCallback(() => {
    const { answer } = chatRef.current;
    if (answer === null || answer.stopping) return;
    dispatch({ type: "stopping" });
    socketRef.current?.emit("llm:stream:cancel", { sessionId: answer.sessionId });
  }, []);

  const clear = useCallback(() => {
    stop();
    dispatch({ type: "cleared" });
  }, [stop]);

  return { chat, connection, send, stop, clear };
}

/**
 * Turns the server's events into the chat's. Text is passed on once per frame: a fast
 * model sends more tokens per second than a screen can show.
 */
function listen(
  socket: ChatSocket,
  dispatch: (event: ChatEvent) => void,
): () => void {
  let pending: TokenEvent | null = null;
  let frame = 0;

  function flush(): void {
    cancelAnimationFrame(frame);
    frame = 0;
    if (pending === null) return;
    dispatch({ type: "text", sessionId: pending.sessionId, text: pending.token });
    pending = null;
  }

  socket.on("llm:stream:token", ({ sessionId, token }) => {
    if (pending !== null && pending.sessionId !== sessionId) flush();
    pending = { sessionId, token: (pending?.token ?? "") + token };
    if (frame === 0) frame = requestAnimationFrame(flush);
  });
  socket.on("llm:stream:done", ({ sessionId, fullResponse }) => {
    flush();
    dispatch({ type: "ended", sessionId, text: fullResponse });
  });
  socket.on("llm:stream:error", ({ sessionId, error, partialResponse }) => {
    flush();
    dispatch(
      sessionId === null
        ? { type: "problem", text: error }
        : { type: "ended", sessionId, text: partialResponse, problem: error },
    );
  });
  socket.on("llm:stream:cancelled", ({ sessionId, partialResponse }) => {
    flush();
    dispatch({ type: "ended", sessionId, text: partialResponse });
  });
  return () => cancelAnimationFrame(frame);
}

function newSessionId(): string {
  return `session-${Date.now()}-${Math.random().toString(36).slice(2)}`;
}
