import { Check, Copy, Info, RotateCcw } from "lucide-react";

import type { Message } from "../llm";
import { IconButton, Popover } from "../ui";
import { factsOf } from "./facts";
import type { Turns } from "./turns";
import { useCopy } from "./useCopy";

interface AnswerActionsProps {
  message: Message;
  isLast: boolean;
  turns: Turns;
}

/** Copy, regenerate, details: below an answer that has ended. */
export function AnswerActions({ message, isLast, turns }: AnswerActionsProps) {
  const [copied, copy] = useCopy();
  return (
    <div className="actions" data-always={isLast || undefined}>
      {message.content !== "" && (
        <IconButton
          icon={copied ? Check : Copy}
          label={copied ? "Copied" : "Copy answer"}
          size="s"
          onClick={() => copy(message.content)}
        />
      )}
      {isLast && message.problem === null && (
        <IconButton
          icon={RotateCcw}
          label="Regenerate"
          size="s"
          onClick={turns.regenerate}
        />
      )}
      <Facts message={message} turns={turns} />
    </div>
  );
}

function Facts({ message, turns }: Omit<AnswerActionsProps, "isLast">) {
  const facts = factsOf(message, turns.labelOf(message.provider));
  return (
    <Popover
      label="Details of this answer"
      align="start"
      trigger={<IconButton icon={Info} label="Details" size="s" />}
    >
      <dl className="facts">
        {facts.map(({ name, value }) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </Popover>
  );
}
