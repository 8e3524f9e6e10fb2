/**
 * Who is logged in: the pair of tokens in localStorage, shared by all tabs.
 *
 * A refresh token works only once, so tabs take a lock (Web Locks), and the second tab
 * finds the pair that the first has stored. For a moment, the server issues another pair
 * for the same token: to a page that is reloaded before it has stored the first, and to
 * tabs without locks.
 */
import { ApiError, request, requestFile, unreachable, type RequestOptions } from "./api";

export const ACCESS_KEY = "jwt_token";
export const REFRESH_KEY = "jwt_refresh_token";
const SPARE_SECONDS = 30;
// How long a refresh may be silent. All tabs wait for it, and if its response is lost, the
// token must be sent again while the server still accepts it from the same page.
const REFRESH_MS = 10_000;

export interface Tokens {
  access: string;
  refresh: string;
}

export function isLoggedIn(): boolean {
  return localStorage.getItem(REFRESH_KEY) !== null;
}

/** The id of the user whose tokens are stored, or null; makes no request. */
export function loggedInUserId(): string | null {
  const id = claimsOf(localStorage.getItem(ACCESS_KEY) ?? "")?.["user_id"];
  return id === undefined ? null : String(id);
}

export async function logIn(username: string, password: string): Promise<void> {
  storeTokens(await request<Tokens>("/auth/token", { body: { username, password } }));
}

/** Removes the tokens immediately, and revokes them in the background. */
export function logOut(): void {
  const refresh = localStorage.getItem(REFRESH_KEY);
  forgetTokens();
  if (refresh === null) return;
  request("/auth/token/revoke", { body: { refresh } }).catch(() => undefined);
}

/**
 * Returns a token that is valid for some seconds more, or null if the user must log in
 * again. `refused` is a token that the server has rejected, whatever this machine's
 * clock says. Rejects with ApiError if the server cannot be reached.
 */
export async function accessToken(refused?: string): Promise<string | null> {
  return storedToken(refused) ?? withLock(async () => storedToken(refused) ?? renewOnce());
}

/**
 * Sends a request with the user's token; if `options` has a token, that is tried first.
 * Rejects with ApiError.
 */
export function authorized<T>(path: string, options: RequestOptions = {}): Promise<T> {
  return withToken((token) => request<T>(path, { ...options, token }), options.token);
}

/** Reads a file with the user's token: a link cannot send it. Rejects with ApiError. */
export function authorizedFile(path: string): Promise<Blob> {
  return withToken((token) => requestFile(path, token));
}

/** True if the server has rejected the token, which ends the session. */
export function isTokenError(error: unknown): boolean {
  return (
    error instanceof ApiError && error.status === 401 && error.code.startsWith("token_")
  );
}

/** Calls back when another tab logs out. Returns the function that ends that. */
export function onLoggedOutElsewhere(callback: () => void): () => void {
  const listener = () => {
    if (!isLoggedIn()) callback();
  };
  window.addEventListener("storage", listener);
  return () => window.removeEventListener("storage", listener);
}

/** True when the token's own `exp` has passed, or is about to. */
export function hasExpired(token: string): boolean {
  const claims = claimsOf(token);
  if (claims === null) return true;
  const { exp } = claims;
  return typeof exp === "number" && exp - SPARE_SECONDS < Date.now() / 1000;
}

/** The claims of a token, or null if they cannot be read. */
function claimsOf(token: string): Record<string, unknown> | null {
  const part = token.split(".")[1] ?? "";
  try {
    return JSON.parse(atob(part.replaceAll("-", "+").replaceAll("_", "/")));
  } catch {
    return null;
  }
}

/**
 * Sends a request again with a new token if the server rejects the first. A wrong password
 * is also a 401, but a new token would not help.
 */
async function withToken<T>(
  send: (token: string) => Promise<T>,
  given?: string,
): Promise<T> {
  const token = given ?? (await requireToken());
  try {
    return await send(token);
  } catch (error) {
    if (!isTokenError(error)) throw error;
    return send(await requireToken(token));
  }
}

async function requireToken(refused?: string): Promise<string> {
  const token = await accessToken(refused);
  if (token === null) throw new ApiError(401, "token_missing", "Please log in again.");
  return token;
}

function storedToken(refused?: string): string | null {
  const token = localStorage.getItem(ACCESS_KEY);
  if (token === null || token === refused || hasExpired(token)) return null;
  return token;
}

let renewal: Promise<string | null> | undefined;

/** Without a lock, this at least keeps one tab from competing with itself. */
function renewOnce(): Promise<string | null> {
  renewal ??= renew().finally(() => {
    renewal = undefined;
  });
  return renewal;
}

async function renew(): Promise<string | null> {
  const refresh = localStorage.getItem(REFRESH_KEY);
  if (refresh === null) return null;
  try {
    const options = { body: { refresh }, silenceMs: REFRESH_MS };
    const tokens = await request<Tokens>("/auth/token/refresh", options);
    // In the meantime, another tab has logged out or refreshed, or another user logged in.
    if (localStorage.getItem(REFRESH_KEY) !== refresh) return storedToken();
    storeTokens(tokens);
    return tokens.access;
  } catch (error) {
    // Something in between may respond 401 to its own users, too.
    if (!isTokenError(error)) throw error;
    // Another tab may have refreshed without a lock, or logged in.
    if (localStorage.getItem(REFRESH_KEY) !== refresh) return storedToken();
    forgetTokens();
    return null;
  }
}

/** Takes the lock, if there are Web Locks: they exist only on HTTPS and localhost. */
async function withLock<T>(work: () => Promise<T>): Promise<T> {
  if (navigator.locks === undefined) return work();
  return await navigator.locks.request("llmchat-refresh", work);
}

/** Stores a pair of tokens for all tabs. Throws ApiError if the response is not a pair. */
export function storeTokens(answer: Partial<Tokens> | null): void {
  const [access, refresh] = [answer?.access, answer?.refresh];
  // Something in between may answer with other JSON, or with nothing.
  if (typeof access !== "string" || typeof refresh !== "string") throw unreachable();
  localStorage.setItem(ACCESS_KEY, access);
  localStorage.setItem(REFRESH_KEY, refresh);
}

/** Removes the tokens, which are no longer valid. */
export function forgetTokens(): void {
  localStorage.removeItem(ACCESS_KEY);
  localStorage.removeItem(REFRESH_KEY);
}
