import { createContext, useContext } from "react";

import type { User } from "./server";

export type SettingsSection =
  "appearance" | "instructions" | "password" | "keys" | "data";

export interface AccountApi {
  user: User;
  /** Changes with each log-in, which makes connections reconnect. */
  session: number;
  /** To be called when the server no longer accepts the tokens. */
  endSession: () => void;
  logOut: () => void;
  openSettings: (section?: SettingsSection) => void;
}

export const AccountContext = createContext<AccountApi | null>(null);

/** Returns the account of the page; works only below an AccountProvider. */
export function useAccount(): AccountApi {
  const account = useContext(AccountContext);
  if (account === null) throw new Error("useAccount needs an AccountProvider above it.");
  return account;
}
