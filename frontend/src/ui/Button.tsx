import type { ComponentProps } from "react";

import { classes } from "./classes";
import { Spinner } from "./Spinner";

export interface ButtonProps extends ComponentProps<"button"> {
  /** `primary` once in a view, `danger` for what cannot be undone, `quiet` in rows. */
  kind?: "primary" | "secondary" | "quiet" | "danger";
  size?: "s" | "m";
  /** Shows that it works, and takes no second press; it keeps the focus. */
  busy?: boolean;
}

/** A button with text. Takes what a `<button>` takes; `type` is `button` unless given. */
export function Button({
  kind = "secondary",
  size = "m",
  busy = false,
  className,
  children,
  onClick,
  ...rest
}: ButtonProps) {
  return (
    <button
      type="button"
      {...rest}
      className={classes("button", className)}
      data-kind={kind}
      data-size={size}
      aria-busy={busy || undefined}
      aria-disabled={busy || undefined}
      onClick={(event) => {
        if (busy) event.preventDefault();
        else onClick?.(event);
      }}
    >
      {busy && <Spinner />}
      {children}
    </button>
  );
}
