/** The server's errors about a form, in its words, at the fields that they are about. */
import { ApiError } from "../llm/api";

/** Errors by the name of their field; the error of no field is at "". */
export type FormErrors = Record<string, string>;

/**
 * The server begins a sentence about a field with its name: `password: This password is
 * too common.` `byCode` names the fields of errors that have only a code.
 */
export function errorsOf(
  error: unknown,
  fields: readonly string[],
  byCode: Record<string, string> = {},
): FormErrors {
  if (!(error instanceof ApiError)) return { "": String(error) };
  const text = textOf(error);
  const [, named = "", rest = ""] = /^(\w+): (.+)$/s.exec(text) ?? [];
  if (fields.includes(named)) return { [named]: rest };
  return { [byCode[error.code] ?? ""]: text };
}

function textOf({ message, retryAfter }: ApiError): string {
  if (retryAfter === undefined) return message;
  return `${message}. Try again in ${retryAfter} ${retryAfter === 1 ? "second" : "seconds"}.`;
}
