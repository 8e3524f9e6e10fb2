import * as Radix from "@radix-ui/react-tooltip";
import type { FocusEvent, ReactElement } from "react";

interface TooltipProps {
  text: string;
  keys?: string;
  side?: "top" | "right" | "bottom" | "left";
  /** One element that takes a ref and the events of a button. */
  children: ReactElement;
}

/** Names its child under the pointer, or with the keyboard's focus on it. */
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

/** A menu that closes gives the focus back: no reason to name the button. */
function onlyFromKeyboard(event: FocusEvent<HTMLElement>): void {
  if (!event.currentTarget.matches(":focus-visible")) event.preventDefault();
}
