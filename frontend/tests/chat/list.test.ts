import { expect, test } from "vitest";

import type { Conversation } from "../../src/llm";
import { grouped, withPage } from "../../src/sidebar/list";

const NOON = new Date(2026, 10, 28, 12).getTime();
const DAY_MS = 86_400_000;

function conversation(id: string, daysAgo: number): Conversation {
  const moment = new Date(NOON - daysAgo * DAY_MS).toISOString();
  return {
    ...{ id, title: id, provider: "", model: "", state: null, messageCount: 0 },
    ...{ createdAt: moment, updatedAt: moment, cost: "0" },
    usage: { inputTokens: 0, outputTokens: 0 },
  };
}

test("conversations are grouped by when something last happened in them", () => {
  const list = [0, 0, 1, 5, 60].map((days, n) => conversation(String(n), days));
  const names = grouped(list, NOON).map(({ name }) => name);
  expect(names.slice(0, 3)).toEqual(["Today", "Yesterday", "Last 7 days"]);
  expect(names[3]).toContain("2026");
  expect(grouped(list, NOON)[0]?.conversations).toHaveLength(2);
});

test("a conversation that has moved up is not listed twice", () => {
  const [one, two, three] = [0, 1, 2].map((days) => conversation(String(days), days));
  const page = { results: [two!, three!], cursor: null };
  expect(withPage([one!, two!], page)).toEqual([one, two, three]);
});
