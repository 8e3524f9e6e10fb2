import type { Running } from "../llm";
import { useNow } from "./clock";
import { reason } from "./reasons";
import { duration } from "./words";

const SLOW_S = 10;

interface ProgressProps {
  running: Running;
  /** The provider's name for people. */
  label: string;
}

/** What the answer is doing, below its text. Only a failed stop is announced here. */
export function Progress({ running, label }: ProgressProps) {
  const { problem } = running;
  return (
    <>
      <Doing running={running} label={label} />
      {problem !== null && (
        <p role="alert" className="note">
          {`The answer could not be stopped. ${reason(problem.code, problem.text, label)} `}
          Try stopping it again.
        </p>
      )}
    </>
  );
}

function Doing({ running, label }: ProgressProps) {
  const { phase } = running;
  if (phase === "waiting") return <Waiting since={running.startedAt} label={label} />;
  if (phase === "writing") return <span className="caret" aria-hidden />;
  return (
    <p className="progress">
      <Dots />
      {phase === "stopping" ? "Stopping…" : "Picking up where it left off…"}
    </p>
  );
}

function Waiting({ since, label }: { since: number; label: string }) {
  const seconds = Math.floor((useNow(true) - since) / 1000);
  return (
    <p className="progress">
      <Dots />
      {seconds < SLOW_S
        ? "Thinking…"
        : `${label} is slow to answer: ${duration(seconds)} so far. You can keep waiting, or stop.`}
    </p>
  );
}

function Dots() {
  return (
    <span className="dots" aria-hidden>
      <i />
      <i />
      <i />
    </span>
  );
}
