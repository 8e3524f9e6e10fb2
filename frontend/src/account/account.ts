/**
 * Who uses the page, across all tabs: a user who is logged in or logged out, or whose
 * session has ended while the page, and what is typed in it, stays.
 */
import { ApiError } from "../llm/api";
import {
  forgetTokens,
  isLoggedIn,
  isTokenError,
  loggedInUserId,
  logOut,
  REFRESH_KEY,
} from "../llm/session";
import { fetchUser, type User } from "./server";

// Written when a user logs out on purpose. If tokens are removed without it, they expired.
const LEFT_KEY = "llmchat.left";
const RETRY_MS = 3000;

export type Phase = "loading" | "unreachable" | "out" | "in" | "ended";

export interface AccountState {
  phase: Phase;
  /** Null unless `phase` is "in" or "ended". */
  user: User | null;
  /** Changes with each log-in, which makes connections reconnect. */
  session: number;
  /** What to tell a user who is logged out, or who waits for the server. */
  notice: string | null;
}

const ENDED = "Your session has ended. Please log in again.";

export class Account {
  private state: AccountState = {
    phase: "loading",
    user: null,
    session: 0,
    notice: null,
  };
  private readonly listeners = new Set<() => void>();
  private lastUserId: number | null = null;
  private retryTimer: number | undefined;

  /**
   * `startAfresh` reloads the page, so that another user finds nothing of the last one.
   * `onLeft` is called when the user has left on purpose, here or in another tab.
   */
  constructor(
    private readonly startAfresh: () => void,
    private readonly onLeft: () => void = () => undefined,
  ) {}

  readonly current = (): AccountState => this.state;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  /** Begins to watch the other tabs. Returns the function that ends that. */
  start(): () => void {
    window.addEventListener("storage", this.onStorage);
    if (isLoggedIn()) void this.load();
    else this.set({ phase: "out" });
    return () => {
      window.removeEventListener("storage", this.onStorage);
      window.clearTimeout(this.retryTimer);
    };
  }

  /** Finds out who is logged in, once there are tokens. */
  readonly load = async (): Promise<void> => {
    window.clearTimeout(this.retryTimer);
    try {
      this.enter(await fetchUser());
    } catch (error) {
      if (isTokenError(error)) this.endSession();
      else this.retry(error);
    }
  };

  /** Called when the server no longer accepts the tokens; the page stays as it is. */
  readonly endSession = (): void => {
    if (isLoggedIn())
      void this.load(); // another tab has logged in in the meantime
    else if (this.state.user !== null) this.set({ phase: "ended" });
    else this.leave(ENDED);
  };

  /** Logs out, here and in all tabs. */
  readonly logOut = (): void => {
    this.drop(logOut, null);
  };

  /** Leaves after the account was deleted. */
  readonly forget = (notice: string): void => {
    this.drop(forgetTokens, notice);
  };

  /** If the storage is full, removing the tokens makes room to notify the other tabs. */
  private drop(dropTokens: () => void, notice: string | null): void {
    const isTold = tellTabs();
    dropTokens();
    if (!isTold) tellTabs();
    this.leaveForGood(notice);
  }

  private enter(user: User): void {
    if (this.lastUserId !== null && this.lastUserId !== user.id) this.startAfresh();
    else this.set({ phase: "in", user, session: this.state.session + 1, notice: null });
    this.lastUserId = user.id;
  }

  private leaveForGood(notice: string | null): void {
    this.leave(notice);
    this.onLeft();
  }

  private leave(notice: string | null): void {
    this.set({ phase: "out", user: null, notice });
  }

  /** Tries again later. A page in use stays; its parts report the problem themselves. */
  private retry(error: unknown): void {
    const notice = error instanceof ApiError ? error.message : String(error);
    if (this.state.user === null) this.set({ phase: "unreachable", notice });
    this.retryTimer = window.setTimeout(() => void this.load(), RETRY_MS);
  }

  /** Another tab has changed the storage; if the key is null, it was cleared. */
  private readonly onStorage = ({ key, newValue }: StorageEvent): void => {
    if (key === LEFT_KEY && newValue !== null) this.leaveForGood(null);
    if (key !== REFRESH_KEY && key !== null) return;
    if (!isLoggedIn()) {
      if (this.state.phase !== "out") this.endSession();
    } else if (!this.isOwnSession()) {
      void this.load();
    }
  };

  /** False if the tokens are not those of the user who is logged in here. */
  private isOwnSession(): boolean {
    const { phase, user } = this.state;
    return phase === "in" && String(user?.id) === loggedInUserId();
  }

  private set(change: Partial<AccountState>): void {
    this.state = { ...this.state, ...change };
    for (const listener of this.listeners) listener();
  }
}

/** Notifies the other tabs of a log-out. Returns false if the storage is full. */
function tellTabs(): boolean {
  try {
    localStorage.setItem(LEFT_KEY, String(Date.now()));
    return true;
  } catch {
    return false;
  }
}
