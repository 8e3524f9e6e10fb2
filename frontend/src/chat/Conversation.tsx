import { type RefObject, useCallback, useEffect, useMemo } from "react";

import { type AskOptions, type Chat, isUnread, type LLMClient, useLLMStream } from "../llm";
import { Button, Spinner } from "../ui";
import { Announcer } from "./Announcer";
import { ComposerArea } from "./ComposerArea";
import { useDraft } from "./drafts";
import { EmptyState } from "./EmptyState";
import { MessageList } from "./MessageList";
import type { Provider } from "./providers";
import { isForStaff, reason } from "./reasons";
import { type Turns, useTurns, WhyNotNow, whyNotNow } from "./turns";
import { useUntaken } from "./untaken";
import type { Picker } from "./useProviders";

interface ConversationProps {
  client: LLMClient;
  chatKey: string;
  /** The user whose drafts are shown. */
  owner: string;
  picker: Picker;
  /** Sent before the first question of a chat. */
  instructions: string;
  composer: RefObject<HTMLTextAreaElement | null>;
}

/** One conversation, and the text box to continue it. */
export function Conversation(props: ConversationProps) {
  const { client, chatKey, owner, picker, instructions, composer } = props;
  const stream = useLLMStream({ client, chat: chatKey });
  const { chat } = stream;
  const [draft, setDraft] = useDraft(owner, chatKey, chat.conversationId);
  useUntaken(client, owner, chat, [draft, setDraft]);
  const options = useMemo(() => optionsOf(picker, instructions), [picker, instructions]);
  const providers = useMemo(() => providersOf(picker), [picker.offers]);
  const turns = useTurns(stream, options, providers);
  useFreshOnFailure(chat, picker.refresh);

  const pickExample = useCallback(
    (prompt: string) => {
      setDraft(prompt);
      composer.current?.focus();
    },
    [setDraft, composer],
  );

  return (
    <div className="conversation" data-empty={chat.messages.length === 0 || undefined}>
      <WhyNotNow value={whyNotNow(chat.running, options)}>
        <Content
          chat={chat}
          turns={turns}
          onReload={() => client.reload(chatKey)}
          onPick={pickExample}
        />
      </WhyNotNow>
      <ComposerArea
        box={composer}
        draft={draft}
        onDraft={setDraft}
        phase={chat.running?.phase ?? null}
        unread={chat.loading || isUnread(chat)}
        tooLong={!client.takes(draft)}
        turns={turns}
        picker={picker}
      />
      <Announcer chat={chat} label={turns.labelOf(chat.messages.at(-1)?.provider ?? null)} />
    </div>
  );
}

interface ContentProps {
  chat: Chat;
  turns: Turns;
  onReload: () => void;
  onPick: (prompt: string) => void;
}

function Content({ chat, turns, onReload, onPick }: ContentProps) {
  if (chat.messages.length > 0) {
    return <MessageList key={chat.key} chat={chat} turns={turns} />;
  }
  if (chat.loading) {
    return (
      <div className="placeholder">
        <Spinner label="Loading the conversation" />
      </div>
    );
  }
  return chat.problem === null ? (
    <EmptyState onPick={onPick} />
  ) : (
    <NotLoaded problem={chat.problem} onReload={onReload} />
  );
}

interface NotLoadedProps {
  problem: NonNullable<Chat["problem"]>;
  onReload: () => void;
}

function NotLoaded({ problem, onReload }: NotLoadedProps) {
  const isGone = problem.code === "conversation_not_found";
  useEffect(() => {
    if (isGone) return;
    window.addEventListener("online", onReload);
    return () => window.removeEventListener("online", onReload);
  }, [isGone, onReload]);
  return (
    <div className="placeholder" role="alert">
      <p>{reason(problem.code, problem.text, "")}</p>
      {!isGone && <Button onClick={onReload}>Try again</Button>}
    </div>
  );
}

function optionsOf({ picked }: Picker, instructions: string): AskOptions | null {
  if (picked === null) return null;
  const { provider, model } = picked.choice;
  return {
    provider,
    ...(model === null ? {} : { model }),
    ...(instructions.trim() === "" ? {} : { instructions }),
  };
}

function providersOf({ offers }: Picker): ReadonlyMap<string, Provider> {
  return new Map(offers.map(({ provider }) => [provider.name, provider]));
}

/** Refreshes the providers if an answer failed for a reason that an operator can fix. */
function useFreshOnFailure({ messages }: Chat, refresh: () => void): void {
  const last = messages.at(-1);
  const failed = isForStaff(last?.problem?.code ?? "") ? last?.key : undefined;
  useEffect(() => {
    if (failed !== undefined) refresh();
  }, [failed, refresh]);
}
