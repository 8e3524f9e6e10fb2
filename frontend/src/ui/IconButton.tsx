import type { LucideIcon } from "lucide-react";
import type { ComponentProps } from "react";

import { classes } from "./classes";
import { Tooltip } from "./Tooltip";

export interface IconButtonProps extends Omit<ComponentProps<"button">, "children"> {
  icon: LucideIcon;
  /** What the button does: its name for screen readers, and its tooltip. */
  label: string;
  /** Keys that do the same, such as `Esc`; shown in the tooltip. */
  keys?: string;
  kind?: "quiet" | "secondary" | "primary" | "danger";
  size?: "s" | "m";
}

/** A button that is only an icon. It can be the trigger of a Menu or a Popover. */
export function IconButton({
  icon: Icon,
  label,
  keys,
  kind = "quiet",
  size = "m",
  className,
  ...rest
}: IconButtonProps) {
  return (
    <Tooltip text={label} {...(keys === undefined ? {} : { keys })}>
      <button
        type="button"
        aria-label={label}
        {...rest}
        className={classes("button icon-button", className)}
        data-kind={kind}
        data-size={size}
      >
        <Icon aria-hidden size={size === "s" ? 16 : 18} strokeWidth={1.75} />
      </button>
    </Tooltip>
  );
}
