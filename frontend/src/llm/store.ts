/** The chats of a page, for `useSyncExternalStore`: unchanged objects stay identical. */
import { type ChatEvent, emptyChat, reduceChat } from "./chat";
import type { Activity, BudgetNotice, Chat } from "./types";

export class ChatStore {
  readonly #chats = new Map<string, Chat>();
  readonly #elsewhere = new Map<string, Activity>();
  readonly #listeners = new Set<() => void>();
  #activity: readonly Activity[] = [];
  /** The server's last notice of a budget, and whether it is still to be shown. */
  #notice: { told: BudgetNotice; shown: boolean } | null = null;

  /** Returns the function that ends the subscription. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  add(key: string): void {
    this.#chats.set(key, emptyChat(key));
  }

  get(key: string): Chat | undefined {
    return this.#chats.get(key);
  }

  /** The chat of a conversation, if the page has one. */
  find(conversationId: string): Chat | undefined {
    for (const chat of this.#chats.values()) {
      if (chat.conversationId === conversationId) return chat;
    }
    return undefined;
  }

  remove(key: string): void {
    this.#chats.delete(key);
    this.notify();
  }

  /** Changes a chat, and returns the changed one. */
  change(key: string, event: ChatEvent): Chat | undefined {
    const chat = this.#chats.get(key);
    if (chat === undefined) return undefined;
    const changed = reduceChat(chat, event);
    this.#chats.set(key, changed);
    return changed;
  }

  /** Notes which conversations are being answered, as the server reports. */
  noteStreams(conversationIds: string[]): void {
    for (const [id, activity] of this.#elsewhere) {
      if (!activity.running || conversationIds.includes(id)) continue;
      this.#elsewhere.set(id, { ...activity, running: false, endedAt: Date.now() });
    }
    for (const conversationId of conversationIds) {
      const began = { chatKey: null, running: true, endedAt: null };
      this.#elsewhere.set(conversationId, { conversationId, ...began });
    }
    this.notify();
  }

  /** What happens in each conversation that has a chat here or is answered elsewhere. */
  get activity(): readonly Activity[] {
    return this.#activity;
  }

  /** The server's notice of a budget, until it is dismissed. */
  get budgetNotice(): BudgetNotice | null {
    return this.#notice?.shown ? this.#notice.told : null;
  }

  /** Notes a notice once: attaching again repeats an end, and the notice with it. */
  noteBudget(told: BudgetNotice): void {
    if (JSON.stringify(told) === JSON.stringify(this.#notice?.told)) return;
    this.#notice = { told, shown: true };
  }

  dismissBudgetNotice(): void {
    if (this.#notice !== null) this.#notice.shown = false;
    this.notify();
  }

  notify(): void {
    this.#activity = sameOr(this.#activity, this.#activities());
    for (const listener of [...this.#listeners]) listener();
  }

  #activities(): Activity[] {
    const all = new Map(this.#elsewhere);
    for (const { key, conversationId, endedAt, ...chat } of this.#chats.values()) {
      if (conversationId === null) continue;
      const known = chat.loading && this.#elsewhere.get(conversationId)?.running;
      const running = chat.running !== null || known === true;
      all.set(conversationId, { conversationId, chatKey: key, running, endedAt });
    }
    return [...all.values()];
  }
}

function sameOr(before: readonly Activity[], now: Activity[]): readonly Activity[] {
  const same =
    before.length === now.length &&
    now.every((activity, index) => isSame(activity, before[index]));
  return same ? before : now;
}

function isSame(one: Activity, other: Activity | undefined): boolean {
  return (
    one.conversationId === other?.conversationId &&
    one.chatKey === other.chatKey &&
    one.running === other.running &&
    one.endedAt === other.endedAt
  );
}
