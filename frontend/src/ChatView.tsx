import { useEffect, useState } from "react";

import { AccountMenu, useAccount } from "./account";
import { Composer } from "./Composer";
import { type ConnectionState, LLMClient, useLLMStream } from "./llm";
import { MessageLog } from "./MessageLog";
import { type Provider, useProviders } from "./providers";

const CONNECTION_TEXT: Record<ConnectionState, string> = {
  connecting: "Connecting…",
  connected: "Connected",
  reconnecting: "Disconnected, trying again…",
  offline: "Disconnected: there is no network",
};

/** The chat of the logged-in user, from the header to the text box. */
export function ChatView() {
  const { endSession, session } = useAccount();
  const client = useClientOf(session, endSession);
  const { chat, connection, ask, stop, clear } = useLLMStream({ client });
  const { providers, problem } = useProviders(endSession);
  const [chosen, setChosen] = useState<string | null>(null);
  const provider = chosen ?? firstUsable(providers);

  return (
    <div className="chat">
      <header>
        <h1>llmchat</h1>
        <p role="status" className={`connection ${connection}`}>
          {CONNECTION_TEXT[connection]}
        </p>
        <ProviderSelect providers={providers} value={provider} onChange={setChosen} />
        <button type="button" onClick={clear} disabled={chat.messages.length === 0}>
          New chat
        </button>
        <AccountMenu />
      </header>
      <MessageLog chat={chat} problem={problem} />
      <Composer
        running={chat.running}
        ready={connection === "connected" && provider !== ""}
        onSend={(text) => ask(text, { provider })}
        onStop={stop}
      />
    </div>
  );
}

/** The page's client, which connects anew after each log-in. */
function useClientOf(session: number, onLoggedOut: () => void): LLMClient {
  const [client] = useState(() => new LLMClient({ onLoggedOut }));
  useEffect(() => {
    client.open();
    return () => client.close();
  }, [client, session]);
  return client;
}

interface ProviderSelectProps {
  providers: Provider[];
  value: string;
  onChange: (name: string) => void;
}

function ProviderSelect({ providers, value, onChange }: ProviderSelectProps) {
  return (
    <label className="provider">
      <span className="visually-hidden">Provider</span>
      <select value={value} onChange={(event) => onChange(event.target.value)}>
        {providers.map((provider) => (
          <option
            key={provider.name}
            value={provider.name}
            title={provider.error ?? provider.model}
          >
            {provider.label + whyNot(provider)}
          </option>
        ))}
      </select>
    </label>
  );
}

function whyNot({ usable, code }: Provider): string {
  if (usable) return "";
  return code === "key_not_configured" ? " (no key)" : " (not available)";
}

function firstUsable(providers: Provider[]): string {
  const usable = providers.find((provider) => provider.usable);
  return (usable ?? providers[0])?.name ?? "";
}
