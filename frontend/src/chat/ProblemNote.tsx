import { TriangleAlert } from "lucide-react";

import type { Problem } from "../llm";
import { Button } from "../ui";
import { useCountdown } from "./clock";
import { hint, isForStaff, reason } from "./reasons";
import { useBudgetText } from "./useBudgetText";
import { duration } from "./words";

// A longer wait is shown as a date, not as a countdown.
const COUNTED_S = 3600;

interface ProblemNoteProps {
  problem: Problem;
  /** The provider's name for people. */
  label: string;
  /** Where in the admin the provider is set up, if the user has access. */
  adminUrl?: string | undefined;
  onRetry?: () => void;
}

/** What went wrong, what can be done about it, and the button that does it. */
export function ProblemNote({ problem, label, adminUrl, onRetry }: ProblemNoteProps) {
  const { code, text, retryAt } = problem;
  const wait = useCountdown(retryAt);
  const budget = useBudgetText(code === "budget_exceeded", retryAt);
  const forAdmin = adminUrl !== undefined && isForStaff(code);
  const counted = wait > 0 && wait < COUNTED_S && code !== "budget_exceeded";
  return (
    <div className="problem">
      <TriangleAlert aria-hidden size={18} strokeWidth={1.75} />
      <div className="problem-text">
        <p>{reason(code, text, label)}</p>
        {budget !== null && <p>{budget}</p>}
        {forAdmin ? <AdminLink href={adminUrl} /> : hint(code) !== null && <p>{hint(code)}</p>}
        {counted && <p>Try again in {duration(wait)}.</p>}
      </div>
      {onRetry !== undefined && (
        <Button size="s" onClick={onRetry} disabled={counted}>
          Try again
        </Button>
      )}
    </div>
  );
}

function AdminLink({ href }: { href: string }) {
  return (
    <p>
      <a href={href}>Set it up in the admin</a>
    </p>
  );
}
