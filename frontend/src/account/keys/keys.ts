/** The user's API keys: listing, creating and revoking them. */
import { useCallback, useEffect, useState } from "react";

import { authorized, isTokenError } from "../../llm/session";
import { useAccount } from "../context";

const DAY_MS = 24 * 60 * 60 * 1000;

/** What a key can be allowed to do, in words. */
export const SCOPES: [name: string, text: string][] = [
  ["chat", "Ask questions and stop answers"],
  ["read", "Read conversations"],
  ["usage", "Read usage and budgets"],
];

/** One row of GET /auth/keys. */
export interface ApiKey {
  id: number;
  name: string;
  prefix: string;
  scopes: string[];
  state: "active" | "expired" | "revoked";
  createdAt: string;
  expiresAt: string | null;
  lastUsedAt: string | null;
}

export interface NewKey {
  name: string;
  scopes: string[];
  /** How long it is valid; null until it is revoked. */
  days: number | null;
}

export interface Keys {
  /** Null until the keys are loaded. */
  keys: ApiKey[] | null;
  /** Why they cannot be read. */
  problem: string | null;
  /** Returns the key itself, which the server never shows again. Rejects with ApiError. */
  make: (wanted: NewKey) => Promise<string>;
  /** Rejects with ApiError. */
  revoke: (key: ApiKey) => Promise<void>;
}

export function useKeys(): Keys {
  const { endSession } = useAccount();
  const [keys, setKeys] = useState<ApiKey[] | null>(null);
  const [problem, setProblem] = useState<string | null>(null);

  const load = useCallback(async () => {
    try {
      setKeys((await authorized<{ keys: ApiKey[] }>("/auth/keys")).keys);
      setProblem(null);
    } catch (error) {
      if (isTokenError(error)) endSession();
      setProblem((error as Error).message);
    }
  }, [endSession]);

  useEffect(() => void load(), [load]);

  async function make({ name, scopes, days }: NewKey): Promise<string> {
    const expiresAt = days && new Date(Date.now() + days * DAY_MS).toISOString();
    const body = { name, scopes, expiresAt };
    const { key } = await authorized<{ key: string }>("/auth/keys", { body });
    await load();
    return key;
  }

  async function revoke({ id }: ApiKey): Promise<void> {
    await authorized(`/auth/keys/${id}`, { method: "DELETE" });
    await load();
  }

  return { keys, problem, make, revoke };
}
