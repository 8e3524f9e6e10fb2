import { type ComponentProps, type ReactElement, type ReactNode, useId } from "react";

import { classes } from "./classes";

/** The props that a control gets from its Field. */
export interface FieldControl {
  id: string;
  "aria-describedby"?: string;
  "aria-invalid"?: true;
}

interface FieldProps {
  label: string;
  /** Shown below the control, until there is an error. */
  hint?: ReactNode;
  /** What is wrong with the value, in words for a person. */
  error?: string | undefined;
  children: (control: FieldControl) => ReactElement;
}

/** A control with its label, hint and error, connected for screen readers. */
export function Field({ label, hint, error, children }: FieldProps) {
  const id = useId();
  const noteId = `${id}-note`;
  const note = error ?? hint;
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      {children({
        id,
        ...(note === undefined ? {} : { "aria-describedby": noteId }),
        ...(error === undefined ? {} : { "aria-invalid": true as const }),
      })}
      {/* Always rendered: a live region that appears together with its text is not read. */}
      <div
        id={noteId}
        className={error === undefined ? "hint" : "error"}
        aria-live="polite"
      >
        {note}
      </div>
    </div>
  );
}

type Described = Omit<FieldProps, "children">;

/** A text box of one line in a Field. */
export function TextField({
  label,
  hint,
  error,
  className,
  ...rest
}: Described & ComponentProps<"input">) {
  return (
    <Field label={label} hint={hint} error={error}>
      {(control) => (
        <input className={classes("input", className)} {...rest} {...control} />
      )}
    </Field>
  );
}

/** A text box of several lines in a Field. */
export function TextArea({
  label,
  hint,
  error,
  className,
  ...rest
}: Described & ComponentProps<"textarea">) {
  return (
    <Field label={label} hint={hint} error={error}>
      {(control) => (
        <textarea className={classes("input", className)} {...rest} {...control} />
      )}
    </Field>
  );
}

/** A choice from a list in a Field; the children are `<option>` elements. */
export function SelectField({
  label,
  hint,
  error,
  className,
  ...rest
}: Described & ComponentProps<"select">) {
  return (
    <Field label={label} hint={hint} error={error}>
      {(control) => (
        <select className={classes("input", className)} {...rest} {...control} />
      )}
    </Field>
  );
}

/** An error that belongs to no field; read aloud when it appears. */
export function FormProblem({ children }: { children: ReactNode }) {
  return (
    <div role="alert" className="form-problem" hidden={!children}>
      {children}
    </div>
  );
}
