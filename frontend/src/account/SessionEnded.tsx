import { Button, Dialog } from "../ui";
import type { Account } from "./account";
import { LogIn } from "./LogIn";
import type { User } from "./server";

interface SessionEndedProps {
  open: boolean;
  account: Account;
  user: User;
}

/** A dialog over the page, which keeps everything until its user has logged in again. */
export function SessionEnded({ open, account, user }: SessionEndedProps) {
  return (
    <Dialog
      open={open}
      size="s"
      title="Your session has ended"
      description="Log in again to continue. What you have typed is still here."
    >
      <LogIn username={user.username} onLoggedIn={account.load} />
      <Button kind="quiet" size="s" onClick={account.logOut}>
        Log out instead
      </Button>
    </Dialog>
  );
}
