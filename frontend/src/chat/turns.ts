/** What a reader can do with the turns of a conversation. */
import { createContext, useMemo, useRef } from "react";

import type { AskOptions, LLMStream, Running } from "../llm";
import type { Provider } from "./providers";

export interface Turns {
  /** Returns false if nothing can be asked now. */
  ask: (text: string) => boolean;
  stop: () => void;
  regenerate: () => void;
  edit: (messageKey: string, text: string) => boolean;
  goOn: () => void;
  /** A provider's name for people. */
  labelOf: (provider: string | null) => string;
  /** Where in the admin the provider is set up, if the user has access. */
  adminUrlOf: (provider: string | null) => string | undefined;
}

/** Why nothing can be asked now, for open editors; null if something can. */
export const WhyNotNow = createContext<string | null>(null);

export function whyNotNow(running: Running | null, options: AskOptions | null) {
  if (running !== null) return "Wait for the answer, or stop it.";
  return options === null ? "No model is available." : null;
}

/**
 * Returns an object that stays the same while an answer is written, so that no other
 * message is redrawn. `options` names the model that answers; null if there is none.
 */
export function useTurns(
  stream: LLMStream,
  options: AskOptions | null,
  providers: ReadonlyMap<string, Provider>,
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
      labelOf: (provider) => providers.get(provider ?? "")?.label ?? "The model",
      adminUrlOf: (provider) => providers.get(provider ?? "")?.adminUrl,
    };
  }, [providers]);
}
