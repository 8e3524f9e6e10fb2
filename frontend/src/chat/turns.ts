/** What a reader can do with the turns of a conversation. */
import { useMemo, useRef } from "react";

import type { AskOptions, LLMStream } from "../llm";

export interface Turns {
  /** Returns false if nothing can be asked now. */
  ask: (text: string) => boolean;
  stop: () => void;
  regenerate: () => void;
  edit: (messageKey: string, text: string) => boolean;
  goOn: () => void;
  /** The name of a provider for a person. */
  labelOf: (provider: string | null) => string;
}

/**
 * Stays the same while an answer is written, so that no other message is drawn again.
 * `options` says who answers; null if nobody can.
 */
export function useTurns(
  stream: LLMStream,
  options: AskOptions | null,
  labels: ReadonlyMap<string, string>,
): Turns {
  const current = useRef({ stream, options });
  current.current = { stream, options };

  return useMemo(() => {
    const asking = (ask: (stream: LLMStream, options: AskOptions) => boolean) => {
      const { stream: now, options: chosen } = current.current;
      return chosen !== null && ask(now, chosen);
    };
    return {
      ask: (text) => asking((now, chosen) => now.ask(text, chosen)),
      stop: () => current.current.stream.stop(),
      regenerate: () => asking((now, chosen) => now.regenerate(chosen)),
      edit: (key, text) => asking((now, chosen) => now.edit(key, text, chosen)),
      goOn: () => asking((now, chosen) => now.continueAnswer(chosen)),
      labelOf: (provider) => labels.get(provider ?? "") ?? "The model",
    };
  }, [labels]);
}
