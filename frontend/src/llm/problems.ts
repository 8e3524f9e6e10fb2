/** What went wrong, in one shape for all sources. */
import { ApiError } from "./api";
import type { Problem } from "./types";

// Texts for stored answers: the server stores only the code.
const STORED: Record<string, string> = {
  content_filtered: "The provider's filter blocked the answer.",
  draining: "The answer was cut off because the server was restarted.",
  empty_answer: "The provider returned an empty answer.",
  interrupted: "The answer was cut off because the server was restarted.",
  provider_timeout: "The provider took too long.",
};

/** `retryAfter` is in seconds from now. */
export function problem(code: string, text: string, retryAfter?: number): Problem {
  if (retryAfter === undefined) return { code, text };
  return { code, text, retryAt: Date.now() + retryAfter * 1000 };
}

export function toProblem(error: unknown): Problem {
  if (error instanceof ApiError) {
    return problem(error.code, error.message, error.retryAfter);
  }
  return problem("unknown", error instanceof Error ? error.message : String(error));
}

/** Says why a stored answer is not complete. */
export function storedProblem(code: string): Problem {
  return problem(code, STORED[code] ?? "The answer could not be completed.");
}
