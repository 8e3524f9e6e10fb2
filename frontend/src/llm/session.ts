/**
 * Who is logged in: the pair of tokens in localStorage, shared by all tabs.
 *
 * A refresh token works once, so tabs take a lock (Web Locks), and the second finds
 * the pair that the first has stored. For a moment the server gives another pair, to a
 * page that is reloaded before it has stored the first, and to tabs without locks.
 */
import { ApiError, request, requestFile, unreachable, type RequestOptions } from "./api";

export const ACCESS_KEY = "jwt_token";
export const REFRESH_KEY = "jwt_refresh_token";
const SPARE_SECONDS = 30;
// All tabs wait for it, and where its answer is lost, the same token must come again while
// the server takes it for that of the same page.
const REFRESH_MS = 10_000;

export interface Tokens {
  access: string;
  refresh: string;
}

export function isLoggedIn(): boolean {
  return localStorage.getItem(REFRESH_KEY) !== null;
}

/** The id of the user whose tokens these are, or null; it asks nobody. */
export function loggedInUserId(): string | null {
  const id = claimsOf(localStorage.getItem(ACCESS_KEY) ?? "")?.["user_id"];
  return id === undefined ? null : String(id);
}

export async function logIn(username: string, password: string): Promise<void> {
  storeTokens(await request<Tokens>("/auth/token", { body: { username, password } }));
}

/** Forgets the tokens at once, and revokes them in the background. */
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
 * Sends a request with the user's token, at first with the one that is given. Rejects
 * with ApiError.
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

/** Calls back when another tab logs out. Returns the function that stops it. */
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

/** What the token says of itself, or null if it cannot be read. */
function claimsOf(token: string): Record<string, unknown> | null {
  const part = token.split(".")[1] ?? "";
  try {
    return JSON.parse(atob(part.replaceAll("-", "+").replaceAll("_", "/")));
  } catch {
    return null;
  }
}

/**
 * Sends something once more with a new token if the server rejects the first. A wrong
 * password is a 401 as well, which no new token would change.
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

/** Where there is no lock, this tab at least does not compete with itself. */
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
    // Meanwhile another tab has logged out, or been here, or another user has logged in.
    if (localStorage.getItem(REFRESH_KEY) !== refresh) return storedToken();
    storeTokens(tokens);
    return tokens.access;
  } catch (error) {
    // What stands between may refuse its own users with a 401, too.
    if (!isTokenError(error)) throw error;
    // Another tab may have been here, without a lock, or have logged in.
    if (localStorage.getItem(REFRESH_KEY) !== refresh) return storedToken();
    forgetTokens();
    return null;
  }
}

/** Web Locks exist on HTTPS and localhost only; elsewhere there is no lock. */
async function withLock<T>(work: () => Promise<T>): Promise<T> {
  if (navigator.locks === undefined) return work();
  return await navigator.locks.request("llmchat-refresh", work);
}

/** Keeps a pair that the server has given, for all tabs. Throws ApiError if it is none. */
export function storeTokens(answer: Partial<Tokens> | null): void {
  const [access, refresh] = [answer?.access, answer?.refresh];
  // What stands between may answer with JSON, too, or with nothing.
  if (typeof access !== "string" || typeof refresh !== "string") throw unreachable();
  localStorage.setItem(ACCESS_KEY, access);
  localStorage.setItem(REFRESH_KEY, refresh);
}

/** The tokens are worth nothing any more. */
export function forgetTokens(): void {
  localStorage.removeItem(ACCESS_KEY);
  localStorage.removeItem(REFRESH_KEY);
}
