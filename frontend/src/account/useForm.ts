import { type FormEvent, useEffect, useRef, useState } from "react";

import { isTokenError } from "../llm/session";
import { errorsOf, type FormErrors } from "./formErrors";

interface FormOptions {
  /** The names of the form's fields. */
  fields: readonly string[];
  /** The fields of errors that have only a code, by code. */
  byCode?: Record<string, string>;
  /** Called with what was typed; errors that it throws are shown. */
  submit: (values: Record<string, string>) => Promise<void>;
  /** Called when the session has ended. */
  onSessionEnded?: () => void;
}

interface Form {
  ref: React.RefObject<HTMLFormElement | null>;
  onSubmit: (event: FormEvent<HTMLFormElement>) => void;
  busy: boolean;
  errors: FormErrors;
}

/** Sends a form, one submission at a time, and focuses the first field with an error. */
export function useForm(options: FormOptions): Form {
  const ref = useRef<HTMLFormElement>(null);
  const [busy, setBusy] = useState(false);
  const [errors, setErrors] = useState<FormErrors>({});

  useEffect(() => focusFirst(ref.current, errors), [errors]);

  async function send(form: HTMLFormElement): Promise<void> {
    setBusy(true);
    try {
      await options.submit(valuesOf(form, options.fields));
      setErrors({});
    } catch (error) {
      if (isTokenError(error)) options.onSessionEnded?.();
      setErrors(errorsOf(error, options.fields, options.byCode));
    } finally {
      setBusy(false);
    }
  }

  return {
    ref,
    onSubmit: (event) => {
      event.preventDefault();
      if (!busy) void send(event.currentTarget);
    },
    busy,
    errors,
  };
}

function valuesOf(
  form: HTMLFormElement,
  names: readonly string[],
): Record<string, string> {
  const data = new FormData(form);
  return Object.fromEntries(names.map((name) => [name, String(data.get(name) ?? "")]));
}

function focusFirst(form: HTMLFormElement | null, errors: FormErrors): void {
  const [name] = Object.keys(errors).filter((key) => key !== "");
  const field = name === undefined ? null : form?.elements.namedItem(name);
  if (field instanceof HTMLElement) field.focus();
}
