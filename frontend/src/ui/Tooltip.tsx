import * as Radix from "@radix-ui/react-tooltip";
import type { FocusEvent, ReactElement } from "react";

interface TooltipProps {
  text: string;
  keys?: string;
  side?: "top" | "right" | "bottom" | "left";
  /** One element that takes a ref and the events of a button. */
  children: ReactElement;
}

/** Shows a text for its child when the pointer or the keyboard's focus is on it. */
export function Tooltip({ text, keys, side = "top", children }: TooltipProps) {
  return (
    <Radix.Root>
      <Radix.Trigger asChild onFocus={onlyFromKeyboard}>
        {children}
      </Radix.Trigger>
      <Radix.Portal>
        <Radix.Content
          className="tooltip"
          side={side}
          sideOffset={6}
          collisionPadding={8}
        >
          {text}
          {keys !== undefined && <kbd>{keys}</kbd>}
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  );
}

/** Ignores the focus that a closing menu returns: it is no reason to show the tooltip. */
function onlyFromKeyboard(event: FocusEvent<HTMLElement>): void {
  if (!event.currentTarget.matches(":focus-visible")) event.preventDefault();
}
