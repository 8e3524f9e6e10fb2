/** What is known about an answer: who wrote it, how long it took, what it cost. */
import type { Message } from "../llm";
import { count, dollars, duration } from "./words";

export interface Fact {
  name: string;
  value: string;
}

export function factsOf(message: Message, label: string): Fact[] {
  const { model, usage, cost, durationMs, createdAt } = message;
  const facts: (Fact | null)[] = [
    fact("Provider", label),
    fact("Model", model),
    fact("Input", usage?.inputTokens == null ? null : count(usage.inputTokens, "token")),
    fact("Output", written(message)),
    fact("Reasoning", usage?.reasoningTokens ? count(usage.reasoningTokens, "token") : null),
    fact("Cost", cost === null ? null : dollars(cost)),
    fact("Duration", durationMs === null ? null : duration(durationMs / 1000)),
    fact("Started", createdAt === null ? null : new Date(createdAt).toLocaleString()),
  ];
  return facts.filter((one) => one !== null);
}

/** The tokens of an answer, and how many arrived per second. */
function written({ usage, durationMs }: Message): string | null {
  if (usage?.outputTokens == null) return null;
  const about = usage.source === "estimated" ? "about " : "";
  const tokens = `${about}${count(usage.outputTokens, "token")}`;
  if (!durationMs) return tokens;
  const rate = Math.round((usage.outputTokens * 1000) / durationMs);
  return rate === 0 ? tokens : `${tokens}, ${rate} a second`;
}

function fact(name: string, value: string | null): Fact | null {
  return value === null ? null : { name, value };
}
