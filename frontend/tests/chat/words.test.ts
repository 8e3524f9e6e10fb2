import { expect, test } from "vitest";

import { day, dollars, duration } from "../../src/chat/words";

const NOON = new Date(2026, 10, 28, 12).getTime();
const DAY_MS = 86_400_000;

test.each([
  [4.4, "4 s"],
  [59, "59 s"],
  [60, "1 min"],
  [185, "3 min 5 s"],
  [7800, "2 h 10 min"],
])("%f seconds are %s", (seconds, text) => {
  expect(duration(seconds)).toBe(text);
});

test.each([
  ["0", "$0.00"],
  ["1.5", "$1.50"],
  ["0.000123", "$0.00012"],
])("%s dollars are %s", (amount, text) => {
  expect(dollars(amount)).toBe(text);
});

test("days are named as a person would", () => {
  expect(day(NOON + 3_600_000, NOON)).toMatch(/^today at /);
  expect(day(NOON + DAY_MS, NOON)).toBe("tomorrow");
  expect(day(NOON + 3 * DAY_MS, NOON)).toContain("Tuesday");
});
