import { useEffect, useState } from "react";

import { ApiError } from "./llm/api";
import { authorized } from "./llm/session";

/** One row of GET /llm/providers. */
export interface Provider {
  name: string;
  label: string;
  model: string;
  usable: boolean;
  /** Why it cannot be used; absent if it can. */
  error?: string;
  code?: string;
}

interface Loaded {
  providers: Provider[];
  problem: string | null;
}

/** The providers that the server offers, or the error of the request. */
export function useProviders(onLoggedOut: () => void): Loaded {
  const [loaded, setLoaded] = useState<Loaded>({ providers: [], problem: null });

  useEffect(() => {
    let current = true;
    authorized<{ providers: Provider[] }>("/llm/providers").then(
      ({ providers }) => {
        if (current) setLoaded({ providers, problem: null });
      },
      (error: unknown) => {
        if (!current) return;
        if (error instanceof ApiError && error.status === 401) onLoggedOut();
        else setLoaded({ providers: [], problem: String((error as Error).message) });
      },
    );
    return () => {
      current = false;
    };
  }, [onLoggedOut]);

  return loaded;
}
