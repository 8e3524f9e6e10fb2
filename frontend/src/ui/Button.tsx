import type { ComponentProps } from "react";

import { classes } from "./classes";
import { Spinner } from "./Spinner";

export interface ButtonProps extends ComponentProps<"button"> {
  /** `primary` only once in a view, `danger` if it cannot be undone, `quiet` in rows. */
  kind?: "primary" | "secondary" | "quiet" | "danger";
  size?: "s" | "m";
  /** Shows that something is going on, and ignores presses; the button keeps the focus. */
  busy?: boolean;
}

/** A button with text. Takes all props of `<button>`; `type` is `button` by default. */
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
