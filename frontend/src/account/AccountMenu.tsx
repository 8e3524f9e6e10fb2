import { ChevronsUpDown, Keyboard, LogOut, Settings, ShieldCheck } from "lucide-react";

import { basePath } from "../page";
import { Button, Menu, MenuItem, MenuSeparator } from "../ui";
import { useAccount } from "./context";

interface AccountMenuProps {
  onShortcuts?: () => void;
  /** Called before a dialog opens, so that the drawer around the menu can close. */
  onLeave?: () => void;
}

/** The button with the user's name, and the menu of the account. */
export function AccountMenu({ onShortcuts, onLeave }: AccountMenuProps) {
  const { user, openSettings, logOut } = useAccount();

  function leave(open: () => void): void {
    onLeave?.();
    open();
  }

  return (
    <Menu
      align="start"
      side="top"
      trigger={
        <Button kind="quiet" className="account-button">
          <span className="account-initial" aria-hidden="true">
            {[...user.username][0]?.toUpperCase()}
          </span>
          <span className="visually-hidden">Account of </span>
          <span className="account-name">{user.username}</span>
          <ChevronsUpDown aria-hidden size={16} strokeWidth={1.75} />
        </Button>
      }
    >
      <MenuItem icon={Settings} onSelect={() => leave(openSettings)}>
        Settings
      </MenuItem>
      {onShortcuts !== undefined && (
        <MenuItem icon={Keyboard} onSelect={() => leave(onShortcuts)}>
          Keyboard shortcuts
        </MenuItem>
      )}
      {user.isStaff && (
        <MenuItem icon={ShieldCheck} onSelect={openAdministration}>
          Administration
        </MenuItem>
      )}
      <MenuSeparator />
      <MenuItem icon={LogOut} onSelect={logOut}>
        Log out
      </MenuItem>
    </Menu>
  );
}

function openAdministration(): void {
  window.location.assign(`${basePath()}/admin/`);
}
