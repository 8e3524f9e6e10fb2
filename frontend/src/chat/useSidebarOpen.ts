import { useState } from "react";

import { useMedia } from "./media";

const STORED = "llmchat-sidebar";
const CLOSED = "closed";

export interface SidebarState {
  /** Whether it is next to the conversation, not over it. */
  wide: boolean;
  open: boolean;
  setOpen: (open: boolean) => void;
  /** Closes the sidebar if it is over the page: something in it was chosen. */
  leave: () => void;
}

/** On a wide screen the sidebar stays as it was left; on a narrow one it begins closed. */
export function useSidebarOpen(): SidebarState {
  const wide = useMedia("(min-width: 48rem)");
  const [docked, setDocked] = useState(() => localStorage.getItem(STORED) !== CLOSED);
  const [drawn, setDrawn] = useState(false);

  function dock(open: boolean): void {
    setDocked(open);
    if (open) localStorage.removeItem(STORED);
    else localStorage.setItem(STORED, CLOSED);
  }

  const leave = () => setDrawn(false);
  return wide
    ? { wide, open: docked, setOpen: dock, leave }
    : { wide, open: drawn, setOpen: setDrawn, leave };
}
