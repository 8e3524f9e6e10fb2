/**
 * The one socket of a page. It reconnects by itself, with a valid token each time, and
 * knows whether the browser is offline.
 */
import { io } from "socket.io-client";

import { baseUrl } from "./api";
import type { ChatSocket, Engine, Refusal } from "./events";
import { problem } from "./problems";
import { accessToken, hasExpired } from "./session";
import type { ConnectionState, Problem } from "./types";

const RETRY_MS = 2000;
const LONGEST_DELAY_MS = 3000;
// How many bytes of UTF-8 one code unit of a string takes at most.
const BYTES_PER_UNIT = 3;
// How many bytes surround a message on the wire.
const SPARE_BYTES = 256;

type GiveAuth = (auth: { token?: string }) => void;
/** Opens a socket, which calls `auth` for each connection. */
export type OpenSocket = (auth: (give: GiveAuth) => void) => ChatSocket;

export interface ConnectionListener {
  /** Called with each new socket, to listen to its events. */
  onSocket: (socket: ChatSocket) => void;
  onConnect: (recovered: boolean) => void;
  /** Called when `state` or `problem` has changed. */
  onChange: () => void;
  /** Called when the server has rejected both tokens. */
  onLoggedOut: () => void;
}

export class Connection {
  state: ConnectionState = "connecting";
  /** Why the server refuses the connection, while it does. */
  problem: Problem | null = null;
  #socket: ChatSocket | null = null;
  #token: string | undefined;
  /** The token that the server has rejected, whatever this machine's clock says. */
  #refused: string | undefined;
  #hasConnected = false;
  /** Counts the requests for a token: only the result of the last one is used. */
  #attempt = 0;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #listener: ConnectionListener;
  readonly #openSocket: OpenSocket;

  constructor(listener: ConnectionListener, open: OpenSocket = openSocket) {
    this.#listener = listener;
    this.#openSocket = open;
  }

  /** The socket while it is connected, and null otherwise. */
  get socket(): ChatSocket | null {
    return this.#socket?.connected ? this.#socket : null;
  }

  /** Whether the server accepts a message of this size; it closes the connection if not. */
  takes(value: unknown): boolean {
    const engine = this.socket?.io.engine;
    const most = engine?._maxPayload ?? engine?.maxPayload ?? Infinity;
    const text = JSON.stringify(value);
    if (text.length * BYTES_PER_UNIT + SPARE_BYTES <= most) return true;
    return new Blob([text]).size + SPARE_BYTES <= most;
  }

  open(): void {
    if (this.#socket !== null) return;
    const socket = this.#openSocket((give) => void this.#giveToken(give));
    this.#socket = socket;
    socket.on("connect", () => this.#onConnect(socket));
    socket.on("disconnect", (reason) => {
      if (reason === "io server disconnect") this.#connectLater(RETRY_MS);
      this.#update();
    });
    socket.on("connect_error", (error: Refusal) => this.#onRefusal(socket, error));
    socket.io.on("open", () => {
      const { engine } = socket.io;
      engine.on("upgradeError", () => onLostUpgrade(engine));
    });
    this.#listener.onSocket(socket);
    window.addEventListener("online", this.#update);
    window.addEventListener("offline", this.#update);
    this.#update();
  }

  /** Closes the socket. With `leaves`, unread answers stop; else they continue a while. */
  close({ leaves = false } = {}): void {
    const socket = this.#socket;
    this.#socket = null;
    this.#hasConnected = false;
    this.#attempt += 1;
    clearTimeout(this.#retryTimer);
    window.removeEventListener("online", this.#update);
    window.removeEventListener("offline", this.#update);
    socket?.off();
    // Once the engine is closed, the socket does not send a packet that says it leaves.
    if (!leaves && socket?.connected) socket.io.engine.close();
    socket?.disconnect();
    this.#update();
  }

  /** Reconnects with a new token if the current one has expired. */
  renewIfExpired(): void {
    if (this.#token !== undefined && hasExpired(this.#token)) this.#reopen();
  }

  /** Reconnects with a new token, because the server has rejected this one. */
  renew(): void {
    this.#refused = this.#token;
    this.#reopen();
  }

  /** Unlike `disconnect`, this leaves the server's streams to the new connection. */
  #reopen(): void {
    this.socket?.io.engine.close();
  }

  readonly #update = (): void => {
    const before = this.state;
    this.state = this.#currentState();
    if (this.state !== before) this.#listener.onChange();
  };

  #currentState(): ConnectionState {
    if (this.socket !== null) return "connected";
    if (navigator.onLine === false) return "offline";
    return this.#hasConnected ? "reconnecting" : "connecting";
  }

  async #giveToken(give: GiveAuth): Promise<void> {
    const attempt = ++this.#attempt;
    clearTimeout(this.#retryTimer); // this is the retry
    try {
      const token = await accessToken(this.#refused);
      if (attempt !== this.#attempt) return; // closed or lost while the token was fetched
      if (token === null) {
        this.#listener.onLoggedOut();
        return;
      }
      this.#token = token;
      give({ token });
    } catch {
      // No fresh token could be fetched now.
      if (attempt === this.#attempt) this.#connectLater(RETRY_MS);
    }
  }

  #onConnect(socket: ChatSocket): void {
    this.#refused = undefined;
    this.#hasConnected = true;
    this.problem = null;
    this.#update();
    this.#listener.onConnect(socket.recovered);
  }

  #onRefusal(socket: ChatSocket, error: Refusal): void {
    this.#update();
    if (socket.active) return; // the network: the socket tries again by itself
    const { code, retryAfter } = error.data ?? {};
    if (code?.startsWith("token_")) this.#refused = this.#token;
    else this.#explain(problem(code ?? "unknown", error.message, retryAfter));
    this.#connectLater(retryAfter === undefined ? RETRY_MS : retryAfter * 1000);
  }

  #explain(why: Problem): void {
    this.problem = why;
    this.#listener.onChange();
  }

  #connectLater(delayMs: number): void {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => {
      this.#socket?.disconnect();
      this.#socket?.connect();
    }, delayMs);
  }
}

/**
 * If the WebSocket is lost after polling has stopped, the library neither polls nor sends
 * until it misses a ping. It reconnects if it is told that its connection is lost.
 */
function onLostUpgrade(engine: Engine): void {
  if (engine.upgrading) engine.transport.emit("close"); // else it still polls
}

function openSocket(auth: (give: GiveAuth) => void): ChatSocket {
  const { origin, path } = serverAddress();
  const reconnectionDelayMax = LONGEST_DELAY_MS;
  const options = { auth, path, forceNew: true, reconnectionDelayMax };
  const socket = origin === "" ? io(options) : io(origin, options);
  return socket as unknown as ChatSocket;
}

/** Splits the address, because Socket.IO would take a path in it for a namespace. */
function serverAddress(): { origin: string; path: string } {
  if (baseUrl === "") return { origin: "", path: "/socket.io/" };
  const { origin, pathname } = new URL(baseUrl, globalThis.location?.origin);
  return { origin, path: `${pathname.replace(/\/$/, "")}/socket.io/` };
}
