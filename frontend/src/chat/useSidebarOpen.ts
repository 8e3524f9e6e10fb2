import { useState } from "react";

import { useMedia } from "./media";

const STORED = "llmchat-sidebar";
const CLOSED = "closed";

export interface SidebarState {
  /** Beside the conversation, and not over it. */
  wide: boolean;
  open: boolean;
  setOpen: (open: boolean) => void;
  /** Something has been chosen in it: what lies over the page goes. */
  leave: () => void;
}

/** On a wide screen it stays as it was left; on a narrow one it begins closed. */
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
