/**
 * Questions that were sent and that the server has not taken: without a connection, or
 * refused. The chat shows them; a page that is opened anew gives them back as drafts.
 */
import { useEffect, useRef } from "react";

import { type Chat, isLoggedIn, type LLMClient, type Message, untakenQuestion } from "../llm";
import { nameOf, write } from "./drafts";

// Two pages may wait with a question in one conversation.
const PAGE = Math.random().toString(36).slice(2);

// Questions and a draft in one text box.
const BETWEEN = "\n\n";

type Draft = [text: string, change: (text: string) => void];

interface Kept {
  /** Of the conversation's draft. */
  name: string;
  /** In the storage; at its end is the id of the question before it. */
  key: string;
  text: string;
}

/** What a page has kept that was closed goes before the draft of the chat that is shown. */
export function useUntaken(
  client: LLMClient,
  owner: string,
  chat: Chat,
  [draft, setDraft]: Draft,
): void {
  const { key, conversationId, loading } = chat;
  const name = nameOf(owner, conversationId);
  /** By chat, of all that were shown: their answers go on while another one is. */
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

  // Another page cannot know that this one is not closed, and would ask it, too.
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
    if (loading) return; // the server may have taken it after all
    const own = new Set([...kept.current.values()].map((one) => one?.key));
    const questions = take(name, own, questionsOf(chat).at(-1));
    const texts = new Set([...questions, draft].filter((text) => text !== ""));
    if (questions.length > 0) setDraft([...texts].join(BETWEEN));
  }, [name, loading]);
}

/** Returns what is kept of a chat now; `before` goes where it is something else. */
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

/** Another tab may have taken it for a draft, and must not send it again. */
function drop({ name, key, text }: Kept): void {
  localStorage.removeItem(key);
  write(name, "", text);
}

/**
 * Takes what other pages have kept for a conversation out of the storage. Returns it without
 * what has become the `last` question meanwhile: the server has taken that after all.
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

/** The draft that a question was put before. */
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
