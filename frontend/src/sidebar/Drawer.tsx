import * as Radix from "@radix-ui/react-dialog";
import type { ReactNode } from "react";

import { keepForInputMethod } from "../ui";

interface DrawerProps {
  open: boolean;
  onClose: () => void;
  children: ReactNode;
}

/** The sidebar on a narrow screen: over the page, which cannot be used while it is open. */
export function Drawer({ open, onClose, children }: DrawerProps) {
  return (
    <Radix.Root open={open} onOpenChange={(next) => !next && onClose()}>
      <Radix.Portal>
        <div className="drawer-scrim">
          <Radix.Content
            className="drawer"
            aria-describedby={undefined}
            onEscapeKeyDown={keepForInputMethod}
          >
            <Radix.Title className="visually-hidden">Conversations</Radix.Title>
            {children}
          </Radix.Content>
        </div>
      </Radix.Portal>
    </Radix.Root>
  );
}
