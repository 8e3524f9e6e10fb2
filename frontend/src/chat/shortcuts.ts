/** The page's keyboard shortcuts, which work wherever the focus is. */
import { useEffect, useRef } from "react";

import { isComposing } from "../ui";

export interface Shortcut {
  keys: string[];
  what: string;
}

const isMac = /Mac|iPhone|iPad/.test(navigator.platform);
const CONTROL = isMac ? "⌘" : "Ctrl";

export const SHORTCUTS: Shortcut[] = [
  { keys: ["Enter"], what: "Send" },
  { keys: ["Shift", "Enter"], what: "Start a new line" },
  { keys: ["Esc"], what: "Stop the answer" },
  { keys: ["↑"], what: "Edit the last question, if the text box is empty" },
  { keys: [CONTROL, "K"], what: "Search conversations" },
  { keys: [CONTROL, "Shift", "O"], what: "New chat" },
  { keys: ["Shift", "Esc"], what: "Back to the text box" },
  { keys: [CONTROL, "/"], what: "Show this list" },
];

export interface ShortcutHandlers {
  onStop: () => void;
  onSearch: () => void;
  onNewChat: () => void;
  onFocusComposer: () => void;
  onHelp: () => void;
}

/**
 * Handles the shortcuts that work everywhere on the page. Those with a letter or a sign
 * have a modifier, so that dictated text does not trigger them.
 */
export function useShortcuts(handlers: ShortcutHandlers): void {
  const current = useRef(handlers);
  current.current = handlers;
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      const handler = handlerOf(event, current.current);
      if (handler === null || event.defaultPrevented || isComposing(event)) return;
      event.preventDefault();
      handler();
    };
    window.addEventListener("keydown", onKeyDown);
    return () => window.removeEventListener("keydown", onKeyDown);
  }, []);
}

function handlerOf(event: KeyboardEvent, handlers: ShortcutHandlers): (() => void) | null {
  // An open dialog or menu handles Escape itself.
  if (event.key === "Escape") {
    if (document.querySelector('[role="dialog"], [role="alertdialog"], [role="menu"]')) {
      return null;
    }
    return event.shiftKey ? handlers.onFocusComposer : handlers.onStop;
  }
  if (!(event.ctrlKey || event.metaKey) || event.altKey) return null;
  const key = event.key.toLowerCase();
  if (key === "/") return handlers.onHelp;
  if (key === "k" && !event.shiftKey) return handlers.onSearch;
  if (key === "o" && event.shiftKey) return handlers.onNewChat;
  return null;
}
