/**
 * Who uses the page, over all tabs: logged in, logged out, or with a session that has
 * ended while the page, and what is typed in it, stays.
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

// Written when a user logs out on purpose. Tokens that go without it have ended.
const LEFT_KEY = "llmchat.left";
const RETRY_MS = 3000;

export type Phase = "loading" | "unreachable" | "out" | "in" | "ended";

export interface AccountState {
  phase: Phase;
  /** Null unless `phase` is "in" or "ended". */
  user: User | null;
  /** Changes with each log-in: what holds a connection connects anew. */
  session: number;
  /** What to tell whoever is logged out, or waits for the server. */
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
   * `startAfresh` opens the page anew: another user must find nothing of the last.
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

  /** Begins to watch the other tabs. Returns the function that stops it. */
  start(): () => void {
    window.addEventListener("storage", this.onStorage);
    if (isLoggedIn()) void this.load();
    else this.set({ phase: "out" });
    return () => {
      window.removeEventListener("storage", this.onStorage);
      window.clearTimeout(this.retryTimer);
    };
  }

  /** Finds out who is logged in, after the tokens have come. */
  readonly load = async (): Promise<void> => {
    window.clearTimeout(this.retryTimer);
    try {
      this.enter(await fetchUser());
    } catch (error) {
      if (isTokenError(error)) this.endSession();
      else this.retry(error);
    }
  };

  /** The server takes the tokens no more; the page stays as it is. */
  readonly endSession = (): void => {
    if (isLoggedIn())
      void this.load(); // another tab has logged in meanwhile
    else if (this.state.user !== null) this.set({ phase: "ended" });
    else this.leave(ENDED);
  };

  /** Logs out, here and in all tabs. */
  readonly logOut = (): void => {
    this.drop(logOut, null);
  };

  /** After the account has been deleted. */
  readonly forget = (notice: string): void => {
    this.drop(forgetTokens, notice);
  };

  /** Where the storage is full, the tokens that go make room for telling the other tabs. */
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

  /** The page cannot begin; one that is being used goes on, and its parts say more. */
  private retry(error: unknown): void {
    const notice = error instanceof ApiError ? error.message : String(error);
    if (this.state.user === null) this.set({ phase: "unreachable", notice });
    this.retryTimer = window.setTimeout(() => void this.load(), RETRY_MS);
  }

  /** Another tab has done something; a key of null says that all keys have gone. */
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

/** Returns false where the storage is full. */
function tellTabs(): boolean {
  try {
    localStorage.setItem(LEFT_KEY, String(Date.now()));
    return true;
  } catch {
    return false;
  }
}
