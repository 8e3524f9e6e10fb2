/**
 * Questions that were sent but not taken by the server: because there was no connection, or
 * because it refused them. The chat shows them; after a reload, they become drafts again.
 */
import { useEffect, useRef } from "react";

import { type Chat, isLoggedIn, type LLMClient, type Message, untakenQuestion } from "../llm";
import { nameOf, write } from "./drafts";

// Distinguishes pages: two of them may wait with a question in one conversation.
const PAGE = Math.random().toString(36).slice(2);

// Separates questions and a draft that are put into one text box.
const BETWEEN = "\n\n";

type Draft = [text: string, change: (text: string) => void];

interface Kept {
  /** The storage's key of the conversation's draft. */
  name: string;
  /** The storage's key of the question; ends with the id of the question before it. */
  key: string;
  text: string;
}

/** Keeps this page's questions; puts those of closed pages before the shown draft. */
export function useUntaken(
  client: LLMClient,
  owner: string,
  chat: Chat,
  [draft, setDraft]: Draft,
): void {
  const { key, conversationId, loading } = chat;
  const name = nameOf(owner, conversationId);
  /** What is kept of each chat that was shown, because their answers continue. */
  const kept = useRef(new Map<string, Kept | null>());

  useEffect(() => {
    const all = kept.current;
    if (!all.has(key)) all.set(key, null);
    const keepAll = () => {
      for (const [one, before] of all) all.set(one, keep(owner, client.getChat(one), before));
    };
    keepAll();
    return client.subscribe(keepAll);
  }, [client, owner, key]);

  // Another page took a question, not knowing that this page is still open: store it again,
  // which makes the other page remove it from its draft.
  useStorage(({ key: taken, newValue }) => {
    if (newValue !== null || !isLoggedIn()) return;
    const one = [...kept.current.values()].find((each) => each?.key === taken);
    if (one) write(one.key, one.text, "");
  });

  useStorage(({ key: back, newValue }) => {
    if (newValue === null || !back?.startsWith(`${name}:`)) return;
    const left = without(draft, newValue);
    if (left !== draft) setDraft(left);
  });

  useEffect(() => {
    if (loading) return; // the server may have taken the question after all
    const own = new Set([...kept.current.values()].map((one) => one?.key));
    const questions = take(name, own, questionsOf(chat).at(-1));
    const texts = new Set([...questions, draft].filter((text) => text !== ""));
    if (questions.length > 0) setDraft([...texts].join(BETWEEN));
  }, [name, loading]);
}

/** Returns what is now kept of a chat; removes `before` if that is something else. */
function keep(owner: string, chat: Chat | undefined, before: Kept | null): Kept | null {
  const text = chat === undefined ? null : untakenQuestion(chat);
  if (text === (before?.text ?? null)) return before;
  if (before !== null) drop(before);
  if (chat === undefined || text === null) return null;
  const name = nameOf(owner, chat.conversationId);
  const after = questionsOf(chat).filter(({ id }) => id !== null).at(-1)?.id ?? "";
  const kept = { name, key: `${name}:${PAGE}-${chat.key}:${after}`, text };
  write(kept.key, text, "");
  return kept;
}

/** Removes a question, and the draft that another tab may have made of it. */
function drop({ name, key, text }: Kept): void {
  localStorage.removeItem(key);
  write(name, "", text);
}

/**
 * Removes from the storage what other pages have kept for a conversation. Returns it,
 * except for a question that is the `last` one by now: the server has taken it after all.
 */
function take(
  name: string,
  own: ReadonlySet<string | undefined>,
  last: Message | undefined,
): string[] {
  const texts: string[] = [];
  for (const key of Object.keys(localStorage)) {
    if (!key.startsWith(`${name}:`) || own.has(key)) continue;
    const text = localStorage.getItem(key) ?? "";
    const isTaken = text === last?.content && !key.endsWith(`:${last.id}`);
    if (!isTaken) texts.push(text);
    localStorage.removeItem(key);
  }
  return texts;
}

/** Returns a draft without the question that was put before it. */
function without(draft: string, question: string): string {
  if (draft === question) return "";
  const begin = question + BETWEEN;
  return draft.startsWith(begin) ? draft.slice(begin.length) : draft;
}

/** Calls back when another tab changes the storage. */
function useStorage(callback: (event: StorageEvent) => void): void {
  const current = useRef(callback);
  current.current = callback;
  useEffect(() => {
    const onStorage = (event: StorageEvent) => current.current(event);
    window.addEventListener("storage", onStorage);
    return () => window.removeEventListener("storage", onStorage);
  }, []);
}

function questionsOf({ messages }: Chat): Message[] {
  return messages.filter(({ role }) => role === "user");
}
