import { CloudOff, RefreshCw, Wifi } from "lucide-react";
import { type ReactNode, useEffect, useRef, useState } from "react";

import type { ConnectionState, Problem } from "../llm";
import { useCountdown, useLasting } from "./clock";
import { reason } from "./reasons";
import { duration } from "./words";

const QUIET_MS = 700;
const BACK_SHOWN_MS = 3000;

interface ConnectionNoteProps {
  state: ConnectionState;
  /** Why the server refuses the connection. */
  problem: Problem | null;
  /** Whether the server has said that it is stopping. */
  restarting: boolean;
}

/** Says what is wrong with the connection, and briefly that it works again. */
export function ConnectionNote({ state, problem, restarting }: ConnectionNoteProps) {
  // A connection that is established quickly is not worth a message.
  const slow = useLasting(state === "connecting" || state === "reconnecting", QUIET_MS);
  const wait = useCountdown(problem?.retryAt);
  const isBack = useIsBack(state);
  return (
    <div role="status" className="connection" data-state={state}>
      {state === "offline" && (
        <Note icon={<CloudOff aria-hidden size={16} />} kind="warn">
          You are offline. What you write stays here, and the chat continues once you are
          back online.
        </Note>
      )}
      {slow && (
        <Note icon={<RefreshCw aria-hidden size={16} />} kind="warn">
          {textOf(state, problem, restarting)}
          {wait > 0 && ` Next try in ${duration(wait)}.`}
        </Note>
      )}
      {state === "connected" &&
        (isBack ? (
          <Note icon={<Wifi aria-hidden size={16} />} kind="good">
            Connected again.
          </Note>
        ) : (
          <span className="visually-hidden">Connected</span>
        ))}
    </div>
  );
}

function Note(props: { icon: ReactNode; kind: "warn" | "good"; children: ReactNode }) {
  return (
    <p className="connection-note" data-kind={props.kind}>
      {props.icon}
      <span>{props.children}</span>
    </p>
  );
}

function textOf(state: ConnectionState, problem: Problem | null, restarting: boolean): string {
  const drains = problem?.code === "draining";
  if (problem !== null && !drains) return reason(problem.code, problem.text, "");
  if (restarting || drains) return "The server is restarting. It will be back in a moment.";
  if (state === "connecting") return "Connecting…";
  return "The connection was lost. Trying again…";
}

/** Returns true for a moment after a lost connection is back. */
function useIsBack(state: ConnectionState): boolean {
  const wasLost = useRef(false);
  const [isBack, setIsBack] = useState(false);
  useEffect(() => {
    if (state === "reconnecting" || state === "offline") wasLost.current = true;
    if (state !== "connected" || !wasLost.current) return;
    wasLost.current = false;
    setIsBack(true);
    const timer = window.setTimeout(() => setIsBack(false), BACK_SHOWN_MS);
    return () => window.clearTimeout(timer);
  }, [state]);
  return isBack;
}
