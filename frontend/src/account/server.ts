/** The account's requests to the server. All reject with ApiError. */
import { request } from "../llm/api";
import { authorized, authorizedFile, storeTokens, type Tokens } from "../llm/session";

/** GET /auth/me. */
export interface User {
  id: number;
  username: string;
  email: string;
  isStaff: boolean;
}

export function fetchUser(): Promise<User> {
  return authorized<User>("/auth/me");
}

export interface Registration {
  username: string;
  password: string;
  email: string;
}

/** Creates an account and logs in. */
export async function register(body: Registration): Promise<void> {
  storeTokens(await request<Tokens>("/auth/register", { body }));
}

/** Ends all sessions of the user except this browser's, which gets new tokens. */
export async function changePassword(current: string, changed: string): Promise<void> {
  const body = { current, new: changed };
  storeTokens(await authorized<Tokens>("/auth/password", { body }));
}

export async function deleteAccount(password: string): Promise<void> {
  await authorized("/auth/me", { method: "DELETE", body: { password } });
}

/** Fetches everything that is stored about the user. */
export function fetchExport(): Promise<Blob> {
  return authorizedFile("/llm/export");
}
