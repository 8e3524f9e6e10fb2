import { Button, Spinner } from "../ui";
import type { AccountState } from "./account";

interface WaitingProps {
  state: AccountState;
  onRetry: () => Promise<void>;
}

/** Shown until it is known who is logged in; visible only if that takes long. */
export function Waiting({ state: { phase, notice }, onRetry }: WaitingProps) {
  return (
    <main className="entrance waiting">
      <h1 className="visually-hidden">llmchat</h1>
      <p role="status">
        <Spinner /> {phase === "unreachable" ? `${notice} Trying again…` : "Opening…"}
      </p>
      {phase === "unreachable" && <Button onClick={() => void onRetry()}>Try now</Button>}
    </main>
  );
}
