/** The short messages at the page's edge: their state, but not their look. */

export interface ToastWish {
  text: string;
  /** What can still be done about it, such as *Undo*. */
  action?: { label: string; run: () => void };
  /** Called once, when the message disappears without its action being taken. */
  onGone?: () => void;
}

export interface Toast extends ToastWish {
  id: number;
}

const MOST = 3;

/** Holds at most three messages: a fourth removes the oldest. */
export class Toasts {
  private shown: readonly Toast[] = [];
  private readonly listeners = new Set<() => void>();
  private lastId = 0;

  /** Adds a message, and returns the function that removes it. */
  show(wish: ToastWish): () => void {
    const toast = { ...wish, id: ++this.lastId };
    const [oldest] = this.shown;
    if (oldest !== undefined && this.shown.length === MOST) this.dismiss(oldest.id);
    this.set([...this.shown, toast]);
    return () => this.dismiss(toast.id);
  }

  dismiss(id: number): void {
    this.take(id)?.onGone?.();
  }

  /** Removes the message, and runs its action. */
  act(id: number): void {
    this.take(id)?.action?.run();
  }

  readonly current = (): readonly Toast[] => this.shown;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  private take(id: number): Toast | undefined {
    const toast = this.shown.find((one) => one.id === id);
    if (toast !== undefined) this.set(this.shown.filter((one) => one.id !== id));
    return toast;
  }

  private set(shown: readonly Toast[]): void {
    this.shown = shown;
    for (const listener of this.listeners) listener();
  }
}
