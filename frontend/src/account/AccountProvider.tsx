import {
  type ReactNode,
  useEffect,
  useMemo,
  useState,
  useSyncExternalStore,
} from "react";

import { basePath } from "../page";
import { useToast } from "../ui";
import { Account, type AccountState } from "./account";
import { AccountContext, type SettingsSection } from "./context";
import { Entrance } from "./Entrance";
import type { User } from "./server";
import { SessionEnded } from "./SessionEnded";
import { Settings } from "./Settings";
import { Waiting } from "./Waiting";
import "./account.css";

interface AccountProviderProps {
  /** Called when the user has left on purpose: nothing that was typed may remain. */
  onLeft: () => void;
  children: ReactNode;
}

/**
 * Shows its children to a logged-in user, and to others how to log in. When the session
 * ends, the children stay as they are, behind a dialog to log in again.
 */
export function AccountProvider({ onLeft, children }: AccountProviderProps) {
  const [account] = useState(() => new Account(startAfresh, onLeft));
  const state = useSyncExternalStore(account.subscribe, account.current);
  useEffect(() => account.start(), [account]);

  if (state.phase === "out") return <Entrance account={account} notice={state.notice} />;
  if (state.user === null) return <Waiting state={state} onRetry={account.load} />;
  return (
    <Inside account={account} state={state} user={state.user}>
      {children}
    </Inside>
  );
}

/** Reloads the page for another user, so that nothing of the last one remains. */
function startAfresh(): void {
  window.location.replace(`${basePath()}/`);
}

interface InsideProps {
  account: Account;
  state: AccountState;
  user: User;
  children: ReactNode;
}

function Inside({ account, state, user, children }: InsideProps) {
  const toast = useToast();
  const [section, setSection] = useState<SettingsSection | null>(null);
  const api = useMemo(
    () => ({
      user,
      session: state.session,
      endSession: account.endSession,
      logOut: account.logOut,
      openSettings: (wanted: SettingsSection = "appearance") => setSection(wanted),
    }),
    [account, user, state.session],
  );
  return (
    <AccountContext value={api}>
      {children}
      <Settings
        section={section}
        onSection={setSection}
        onClose={() => setSection(null)}
        onDeleted={account.forget}
        onDone={(text) => toast({ text })}
      />
      <SessionEnded open={state.phase === "ended"} account={account} user={user} />
    </AccountContext>
  );
}
