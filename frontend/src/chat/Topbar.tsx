import { PanelLeft, PenLine } from "lucide-react";

import { IconButton } from "../ui";

interface TopbarProps {
  title: string;
  sidebarOpen: boolean;
  onToggleSidebar: () => void;
  onNew: () => void;
}

export function Topbar({ title, sidebarOpen, onToggleSidebar, onNew }: TopbarProps) {
  return (
    <header className="topbar">
      <IconButton
        icon={PanelLeft}
        label={sidebarOpen ? "Hide conversations" : "Show conversations"}
        aria-expanded={sidebarOpen}
        onClick={onToggleSidebar}
      />
      <h1 dir="auto" title={title}>
        {title}
      </h1>
      {!sidebarOpen && <IconButton icon={PenLine} label="New chat" onClick={onNew} />}
    </header>
  );
}
