import * as Radix from "@radix-ui/react-dialog";
import { X } from "lucide-react";
import type { ReactNode } from "react";

import { keepForInputMethod } from "./composing";
import { IconButton } from "./IconButton";
import { isInToast } from "./Toast";

export interface DialogProps {
  open: boolean;
  /** Called when the reader closes the dialog; without it, the dialog cannot be closed. */
  onClose?: () => void;
  title: string;
  /** One sentence below the title. */
  description?: ReactNode;
  size?: "s" | "m" | "l";
  /** The focus is first on the element with `data-autofocus`, or else at the top. */
  children: ReactNode;
}

/**
 * A dialog over the page, which cannot be used while it is open.
 *
 * Radix's own overlay locks the page's scrolling with an injected `<style>`, which the
 * strict CSP forbids. The page itself never scrolls, so a plain element suffices.
 */
export function Dialog({
  open,
  onClose,
  title,
  description,
  size = "m",
  children,
}: DialogProps) {
  const described = description === undefined ? { "aria-describedby": undefined } : {};
  return (
    <Radix.Root open={open} onOpenChange={(next) => !next && onClose?.()}>
      <Radix.Portal>
        <div className="scrim">
          <Radix.Content
            className="dialog"
            data-size={size}
            onOpenAutoFocus={focusMarked}
            onInteractOutside={keepForToasts}
            onEscapeKeyDown={keepForInputMethod}
            {...described}
          >
            <header className="dialog-head">
              <Radix.Title>{title}</Radix.Title>
              {onClose !== undefined && (
                <IconButton icon={X} label="Close" onClick={onClose} />
              )}
            </header>
            {description !== undefined && (
              <Radix.Description className="dialog-lead">{description}</Radix.Description>
            )}
            {children}
          </Radix.Content>
        </div>
      </Radix.Portal>
    </Radix.Root>
  );
}

function focusMarked(event: Event): void {
  const content = event.currentTarget as HTMLElement;
  const marked = content.querySelector<HTMLElement>("[data-autofocus]");
  if (marked === null) return;
  event.preventDefault();
  marked.focus();
}

/** Keeps the dialog open when a button of a message is pressed. */
function keepForToasts(event: {
  detail: { originalEvent: Event };
  preventDefault: () => void;
}) {
  if (isInToast(event.detail.originalEvent.target)) event.preventDefault();
}

/** The row of buttons at a dialog's end. */
export function DialogActions({ children }: { children: ReactNode }) {
  return <div className="dialog-actions">{children}</div>;
}
