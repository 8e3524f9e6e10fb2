/** Texts about budgets. */
import type { BudgetNotice } from "../llm";
import { day, dollars } from "./words";

type Unit = BudgetNotice["unit"];

/** "$5.00" or "100,000 tokens". */
export function amount(value: string, unit: Unit): string {
  return unit === "dollars" ? dollars(value) : `${Number(value).toLocaleString()} tokens`;
}

/** "It renews on Tuesday, 1 December."; `moment` is in milliseconds since the epoch. */
export function renewal(moment: number): string {
  const text = day(moment);
  return /^to(day|morrow)/.test(text) ? `It renews ${text}.` : `It renews on ${text}.`;
}

/** Says how much of a budget is used, before it is used up. */
export function noticeText({ of, percent, ...budget }: BudgetNotice): string {
  const { spent, limit, unit, period, renewsAt } = budget;
  const whose = of === "group" ? "your group’s budget" : "your budget";
  const used = unit === "dollars" ? dollars(spent) : Number(spent).toLocaleString();
  const left = `${used} of ${amount(limit, unit)} a ${period}`;
  return `${percent}% of ${whose} is used: ${left}. ${renewal(Date.parse(renewsAt))}`;
}
