import type { Message, Problem, Running } from "../llm";
import { Markdown } from "../markdown";
import { Button } from "../ui";
import { AnswerActions } from "./AnswerActions";
import { Progress } from "./Progress";
import { ProblemNote } from "./ProblemNote";
import type { Turns } from "./turns";

interface AnswerProps {
  message: Message;
  isLast: boolean;
  running: Running | null;
  turns: Turns;
}

export function Answer({ message, isLast, running, turns }: AnswerProps) {
  const label = turns.labelOf(message.provider);
  return (
    <article className="message answer" data-state={message.state}>
      <h3 className="byline">
        <span className="visually-hidden">Answer from </span>
        {message.model ?? label}
      </h3>
      {message.content !== "" && (
        <div className="prose" dir="auto">
          <Markdown text={message.content} streaming={running !== null} />
        </div>
      )}
      {running !== null && <Progress running={running} label={label} />}
      {running === null && <Ending message={message} isLast={isLast} turns={turns} />}
    </article>
  );
}

/** How the answer ended, if it is not simply complete, and what can be done about it. */
function Ending({ message, isLast, turns }: Omit<AnswerProps, "running">) {
  const { state, finishReason, provider } = message;
  const failed = state === "error" || state === "interrupted";
  return (
    <>
      {state === "cancelled" && <p className="note">This answer was stopped.</p>}
      {finishReason === "length" && (
        <div className="note">
          <p>The answer stopped at the length limit.</p>
          {isLast && (
            <Button size="s" onClick={turns.goOn}>
              Continue
            </Button>
          )}
        </div>
      )}
      {finishReason === "content_filter" && (
        <p className="note">The provider’s filter ended this answer.</p>
      )}
      {failed && (
        <ProblemNote
          problem={shownProblem(message)}
          label={turns.labelOf(provider)}
          adminUrl={turns.adminUrlOf(provider)}
          {...(isLast ? { onRetry: turns.regenerate } : {})}
        />
      )}
      <AnswerActions message={message} isLast={isLast} turns={turns} />
    </>
  );
}

/** Returns the problem to show: without any text, a provider has not "broken off". */
function shownProblem({ content, problem, state }: Message): Problem {
  if (problem === null) return { code: state, text: "The answer could not be completed." };
  const atOnce = problem.code === "provider_error" && content === "";
  return atOnce ? { ...problem, code: "provider_error_at_once" } : problem;
}
