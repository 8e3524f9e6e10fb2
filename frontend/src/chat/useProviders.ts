/** What can be picked, and what has been. */
import { useCallback, useEffect, useMemo, useState } from "react";

import { authorized } from "../llm";
import {
  type Choice,
  type Offer,
  offersOf,
  pick,
  type Provider,
  rememberChoice,
  rememberedChoice,
} from "./providers";

export interface Picker {
  offers: Offer[];
  /** Null until the providers are known, or if there are none. */
  picked: Offer | null;
  choose: (choice: Choice) => void;
  /** Why there are none to choose from. */
  problem: string | null;
  /** Asks the server again what is usable. */
  refresh: () => void;
}

/** `returns`: with each return of the connection, what can answer is read again. */
export function usePicker(returns: number): Picker {
  const [providers, setProviders] = useState<Provider[]>([]);
  const [problem, setProblem] = useState<string | null>(null);
  const [wanted, setWanted] = useState(rememberedChoice);

  const refresh = useCallback(() => {
    authorized<{ providers: Provider[] }>("/llm/providers").then(
      (answer) => {
        setProviders((before) => sameOr(before, answer.providers));
        setProblem(null);
      },
      (error: Error) => setProblem(error.message),
    );
  }, []);

  useEffect(refresh, [refresh, returns]);

  const choose = useCallback((choice: Choice) => {
    setWanted(choice);
    rememberChoice(choice);
  }, []);

  return useMemo(() => {
    const offers = offersOf(providers);
    return { offers, picked: pick(offers, wanted), choose, problem, refresh };
  }, [providers, wanted, choose, problem, refresh]);
}

/** What has not changed stays the same object, so that nothing is drawn again. */
function sameOr(before: Provider[], now: Provider[]): Provider[] {
  return JSON.stringify(before) === JSON.stringify(now) ? before : now;
}
