/** The loaded part of the list of conversations, and how it changes. No I/O. */
import type { Conversation, ConversationPage } from "../llm";

export interface Group {
  /** "Today", "Yesterday", "Last 7 days", or a month. */
  name: string;
  conversations: Conversation[];
}

const DAY_MS = 86_400_000;

/** Adds the next page, without conversations that are already in the list. */
export function withPage(before: Conversation[], page: ConversationPage): Conversation[] {
  const known = new Set(before.map(({ id }) => id));
  return [...before, ...page.results.filter(({ id }) => !known.has(id))];
}

export function withTitle(list: Conversation[], id: string, title: string): Conversation[] {
  return list.map((one) => (one.id === id ? { ...one, title } : one));
}

/** Groups the list by the time of the last change, in its order: the newest first. */
export function grouped(list: Conversation[], now = Date.now()): Group[] {
  const groups: Group[] = [];
  for (const conversation of list) {
    const name = groupOf(Date.parse(conversation.updatedAt), now);
    const last = groups.at(-1);
    if (last?.name === name) last.conversations.push(conversation);
    else groups.push({ name, conversations: [conversation] });
  }
  return groups;
}

function groupOf(moment: number, now: number): string {
  const days = Math.round((midnight(now) - midnight(moment)) / DAY_MS);
  if (days <= 0) return "Today";
  if (days === 1) return "Yesterday";
  if (days < 7) return "Last 7 days";
  const options = { month: "long", year: "numeric" } as const;
  return new Date(moment).toLocaleDateString(undefined, options);
}

function midnight(moment: number): number {
  return new Date(moment).setHours(0, 0, 0, 0);
}
