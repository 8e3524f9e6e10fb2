import { ChevronsUpDown, Keyboard, LogOut, Settings, Wrench } from "lucide-react";

import { Button, Menu, MenuItem, MenuSeparator } from "../ui";
import { usePerson } from "./person";
import { basePath } from "./route";

interface AccountMenuProps {
  onSettings: () => void;
  onShortcuts: () => void;
  onLogOut: () => void;
}

export function AccountMenu({ onSettings, onShortcuts, onLogOut }: AccountMenuProps) {
  const { username, isStaff } = usePerson();
  return (
    <Menu
      align="start"
      side="top"
      trigger={
        <Button kind="quiet" className="account">
          <span className="visually-hidden">Account of </span>
          <span className="account-name">{username || "You"}</span>
          <ChevronsUpDown aria-hidden size={16} strokeWidth={1.75} />
        </Button>
      }
    >
      <MenuItem icon={Settings} onSelect={onSettings}>
        Settings
      </MenuItem>
      <MenuItem icon={Keyboard} onSelect={onShortcuts}>
        Keyboard shortcuts
      </MenuItem>
      {isStaff && (
        <MenuItem icon={Wrench} onSelect={() => location.assign(`${basePath()}/admin/`)}>
          Administration
        </MenuItem>
      )}
      <MenuSeparator />
      <MenuItem icon={LogOut} onSelect={onLogOut}>
        Log out
      </MenuItem>
    </Menu>
  );
}
