/** The user's API keys: listed, made, revoked. */
import { useCallback, useEffect, useState } from "react";

import { ApiError } from "./llm/api";
import { authorized } from "./llm/session";

export const SCOPES = ["chat", "read", "usage"] as const;

/** One row of GET /auth/keys. */
export interface ApiKey {
  id: number;
  name: string;
  prefix: string;
  scopes: string[];
  state: "active" | "expired" | "revoked";
  expiresAt: string | null;
  lastUsedAt: string | null;
}

export interface NewKey {
  name: string;
  scopes: string[];
  expiresAt: string | null;
}

interface Keys {
  keys: ApiKey[];
  problem: string | null;
  /** Returns the key itself, which the server never shows again; null if it refuses. */
  make: (wanted: NewKey) => Promise<string | null>;
  revoke: (key: ApiKey) => Promise<void>;
}

export function useKeys(onLoggedOut: () => void): Keys {
  const [keys, setKeys] = useState<ApiKey[]>([]);
  const [problem, setProblem] = useState<string | null>(null);

  const attempt = useCallback(
    async <T>(work: () => Promise<T>): Promise<T | null> => {
      try {
        const result = await work();
        setKeys((await authorized<{ keys: ApiKey[] }>("/auth/keys")).keys);
        setProblem(null);
        return result;
      } catch (error) {
        if (error instanceof ApiError && error.status === 401) onLoggedOut();
        else setProblem(String((error as Error).message));
        return null;
      }
    },
    [onLoggedOut],
  );

  useEffect(() => {
    void attempt(async () => undefined);
  }, [attempt]);

  return {
    keys,
    problem,
    make: (body) =>
      attempt(async () => (await authorized<{ key: string }>("/auth/keys", { body })).key),
    revoke: async ({ id }) => {
      await attempt(() => authorized(`/auth/keys/${id}`, { method: "DELETE" }));
    },
  };
}
