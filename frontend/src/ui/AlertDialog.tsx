import * as Radix from "@radix-ui/react-alert-dialog";
import type { ReactNode } from "react";

import { Button } from "./Button";
import { DialogActions } from "./Dialog";

export interface AlertDialogProps {
  open: boolean;
  title: string;
  children: ReactNode;
  /** The text of the button that confirms. */
  action: string;
  /** Whether it cannot be undone. */
  danger?: boolean;
  busy?: boolean;
  /** Called once it is confirmed; the caller then closes the dialog. */
  onConfirm: () => void;
  onClose: () => void;
}

/** Asks before something is done; the focus is on *Cancel* at first. */
export function AlertDialog(props: AlertDialogProps) {
  const { open, title, children, action, danger = false, busy = false } = props;
  return (
    <Radix.Root open={open} onOpenChange={(next) => !next && props.onClose()}>
      <Radix.Portal>
        <div className="scrim">
          <Radix.Content className="dialog" data-size="s" aria-modal="true">
            <header className="dialog-head">
              <Radix.Title>{title}</Radix.Title>
            </header>
            <Radix.Description asChild>
              <div className="dialog-lead">{children}</div>
            </Radix.Description>
            <DialogActions>
              <Radix.Cancel asChild>
                <Button>Cancel</Button>
              </Radix.Cancel>
              <Button
                kind={danger ? "danger" : "primary"}
                busy={busy}
                onClick={props.onConfirm}
              >
                {action}
              </Button>
            </DialogActions>
          </Radix.Content>
        </div>
      </Radix.Portal>
    </Radix.Root>
  );
}
