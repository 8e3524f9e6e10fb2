/** Which models can be picked, and which one is. */
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
  /** Why the providers could not be loaded. */
  problem: string | null;
  /** Asks the server again what is usable. */
  refresh: () => void;
}

const RETRY_MS = 2_000;
const LONGEST_RETRY_MS = 60_000;

interface Failure {
  text: string;
  /** The number of failures in a row. */
  times: number;
}

/** Loads the providers, and loads them again when `marks` changes. */
export function usePicker(marks: string): Picker {
  const [providers, setProviders] = useState<Provider[]>([]);
  const [failure, setFailure] = useState<Failure | null>(null);
  const [wanted, setWanted] = useState(rememberedChoice);
  const problem = failure?.text ?? null;

  const refresh = useCallback(() => {
    authorized<{ providers: Provider[] }>("/llm/providers").then(
      (answer) => {
        setProviders((before) => sameOr(before, answer.providers));
        setFailure(null);
      },
      ({ message }: Error) =>
        setFailure((before) => ({ text: message, times: (before?.times ?? 0) + 1 })),
    );
  }, []);

  useEffect(refresh, [refresh, marks]);

  useEffect(() => {
    if (failure === null) return;
    const delay = Math.min(LONGEST_RETRY_MS, RETRY_MS * 2 ** (failure.times - 1));
    const timer = window.setTimeout(refresh, delay);
    return () => window.clearTimeout(timer);
  }, [refresh, failure]);

  const choose = useCallback((choice: Choice) => {
    setWanted(choice);
    rememberChoice(choice);
  }, []);

  const picker = useMemo(() => {
    const offers = offersOf(providers);
    return { offers, picked: pick(offers, wanted), choose, problem, refresh };
  }, [providers, wanted, choose, problem, refresh]);

  // The first usable pick stays as if it had been chosen, because it may have been asked.
  const { picked } = picker;
  useEffect(() => {
    if (wanted === null && picked?.provider.usable) setWanted(picked.choice);
  }, [wanted, picked]);

  return picker;
}

/** Returns the same object if nothing has changed, so that nothing is redrawn. */
function sameOr(before: Provider[], now: Provider[]): Provider[] {
  return JSON.stringify(before) === JSON.stringify(now) ? before : now;
}
