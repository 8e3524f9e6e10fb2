/** Which budget is used up, and when it renews. */
import { useEffect, useState } from "react";

import { authorized } from "../llm";
import { amount, renewal } from "./budgets";

/** A row of `budgets` of GET /llm/usage. */
interface Budget {
  period: "day" | "month";
  unit: "tokens" | "dollars";
  limit: string;
  left: string;
  renewsAt: string;
  of: "user" | "group" | "key";
}

/** Returns null until that is known; `renewsAt` is in milliseconds since the epoch. */
export function useBudgetText(wanted: boolean, renewsAt: number | undefined): string | null {
  const [budget, setBudget] = useState<Budget | null>(null);

  useEffect(() => {
    if (!wanted) return;
    let current = true;
    authorized<{ budgets: Budget[] }>("/llm/usage").then(
      ({ budgets }) => current && setBudget(tightest(budgets)),
      () => undefined, // `renewsAt` alone still says when it renews
    );
    return () => {
      current = false;
    };
  }, [wanted]);

  if (!wanted) return null;
  if (budget !== null) return textOf(budget, renewsAt);
  return renewsAt === undefined ? null : renewal(renewsAt);
}

function tightest(budgets: Budget[]): Budget | null {
  const part = ({ left, limit }: Budget) => Number(left) / Number(limit);
  return [...budgets].sort((one, other) => part(one) - part(other))[0] ?? null;
}

function textOf({ period, unit, limit, of, renewsAt }: Budget, known?: number): string {
  const owner = of === "group" ? "Your group" : "You";
  const verb = of === "group" ? "has" : "have";
  const end = renewal(known ?? Date.parse(renewsAt));
  return `${owner} ${verb} ${amount(limit, unit)} a ${period}. ${end}`;
}
