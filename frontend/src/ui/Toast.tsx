import { X } from "lucide-react";
import {
  createContext,
  type FocusEvent,
  type ReactNode,
  useContext,
  useEffect,
  useState,
  useSyncExternalStore,
} from "react";
import { createPortal } from "react-dom";

import { Button } from "./Button";
import { IconButton } from "./IconButton";
import { type Toast, Toasts, type ToastWish } from "./toasts";

const SHOWN_MS = 6_000;
const SHOWN_WITH_ACTION_MS = 10_000;

const ToastContext = createContext<Toasts | null>(null);

/** Returns the function that shows a message; that returns a function to remove it. */
export function useToast(): (wish: ToastWish) => () => void {
  const toasts = useContext(ToastContext);
  if (toasts === null) throw new Error("useToast needs a UiProvider above it.");
  return (wish) => toasts.show(wish);
}

export function ToastProvider({ children }: { children: ReactNode }) {
  const [toasts] = useState(() => new Toasts());
  return (
    <ToastContext value={toasts}>
      {children}
      {createPortal(<ToastList toasts={toasts} />, document.body)}
    </ToastContext>
  );
}

/** Returns whether an element is inside a message, even one that was just removed. */
export function isInToast(target: EventTarget | null): boolean {
  return target instanceof Element && target.closest(".toast") !== null;
}

function ToastList({ toasts }: { toasts: Toasts }) {
  const shown = useSyncExternalStore(toasts.subscribe, toasts.current);
  const [hovered, setHovered] = useState(false);
  const [focused, setFocused] = useState(false);
  // When the message under the pointer or the focus is removed, no leave event arrives.
  if (shown.length === 0 && (hovered || focused)) {
    setHovered(false);
    setFocused(false);
  }
  return (
    <section
      className="toasts"
      aria-label="Messages"
      aria-live="polite"
      aria-relevant="additions"
      onPointerEnter={() => setHovered(true)}
      onPointerLeave={() => setHovered(false)}
      onFocus={() => setFocused(true)}
      onBlur={(event) => setFocused(staysInside(event))}
    >
      {shown.map((toast) => (
        <ToastCard
          key={toast.id}
          toast={toast}
          toasts={toasts}
          paused={hovered || focused}
        />
      ))}
    </section>
  );
}

function staysInside(event: FocusEvent<HTMLElement>): boolean {
  return event.currentTarget.contains(event.relatedTarget);
}

interface ToastCardProps {
  toast: Toast;
  toasts: Toasts;
  paused: boolean;
}

function ToastCard({ toast, toasts, paused }: ToastCardProps) {
  const { id, text, action } = toast;

  useEffect(() => {
    if (paused) return;
    const ms = action === undefined ? SHOWN_MS : SHOWN_WITH_ACTION_MS;
    const timer = window.setTimeout(() => toasts.dismiss(id), ms);
    return () => window.clearTimeout(timer);
  }, [toasts, id, action, paused]);

  return (
    <div className="toast" aria-atomic="true">
      <span>{text}</span>
      {action !== undefined && (
        <Button kind="quiet" size="s" onClick={() => toasts.act(id)}>
          {action.label}
        </Button>
      )}
      <IconButton icon={X} label="Dismiss" size="s" onClick={() => toasts.dismiss(id)} />
    </div>
  );
}
