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

const RETRY_MS = 2_000;
const LONGEST_RETRY_MS = 60_000;

interface Failure {
  text: string;
  /** How often in a row. */
  times: number;
}

/** What changes in `marks` makes what can answer be read again. */
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

  // What can answer at first stays as if it was chosen: it may have been asked.
  const { picked } = picker;
  useEffect(() => {
    if (wanted === null && picked?.provider.usable) setWanted(picked.choice);
  }, [wanted, picked]);

  return picker;
}

/** What has not changed stays the same object, so that nothing is drawn again. */
function sameOr(before: Provider[], now: Provider[]): Provider[] {
  return JSON.stringify(before) === JSON.stringify(now) ? before : now;
}
