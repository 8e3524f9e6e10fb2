import { createContext, useContext } from "react";

import type { User } from "./server";

export type SettingsSection =
  "appearance" | "instructions" | "password" | "keys" | "data";

export interface AccountApi {
  user: User;
  /** Changes with each log-in: what holds a connection connects anew. */
  session: number;
  /** Called by whoever finds that the server takes the tokens no more. */
  endSession: () => void;
  logOut: () => void;
  openSettings: (section?: SettingsSection) => void;
}

export const AccountContext = createContext<AccountApi | null>(null);

/** The user of the page; only below an AccountProvider. */
export function useAccount(): AccountApi {
  const account = useContext(AccountContext);
  if (account === null) throw new Error("useAccount needs an AccountProvider above it.");
  return account;
}
