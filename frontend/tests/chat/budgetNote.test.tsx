/** What is said of a budget that is nearly used up, which the server tells once. */
import { act, cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { BudgetNote } from "../../src/chat/BudgetNote";
import { noticeText } from "../../src/chat/budgets";
import type { BudgetNotice } from "../../src/llm";
import { UiProvider } from "../../src/ui";
import { connectedClient, pass, reset, restore, socket, startOf } from "../llm/fakes";

const NOTICE: BudgetNotice = {
  period: "day",
  unit: "tokens",
  limit: "100000",
  spent: "81210",
  percent: 81,
  renewsAt: "2026-01-06T00:00:00+00:00",
  of: "user",
};

beforeEach(() => {
  reset();
  vi.stubGlobal("IS_REACT_ACT_ENVIRONMENT", true);
});
afterEach(() => {
  cleanup();
  restore();
});

async function shown() {
  const all = await connectedClient();
  render(
    <UiProvider>
      <BudgetNote client={all.client} />
    </UiProvider>,
  );
  return { ...all, status: screen.getByRole("status") };
}

const END = { partialResponse: "", error: "No", code: "provider_error", budgetNotice: NOTICE };

test.each(["llm:stream:done", "llm:stream:cancelled", "llm:stream:error"])(
  "the notice of %s is said politely, until it is dismissed",
  async (event) => {
    const { client, key, status } = await shown();
    expect(status.textContent).toBe("");
    act(() => void client.ask(key, "Hi!", { provider: "local" }));
    const end = { ...startOf(socket().lastSessionId), fullResponse: "", ...END };
    await act(async () => socket().receive(event, end));
    expect(status.textContent).toContain("81% of your budget is used: 81,210 of 100,000 tokens");
    fireEvent.click(screen.getByRole("button", { name: "Dismiss" }));
    expect(status.textContent).toBe("");
    expect(screen.queryByRole("button")).toBeNull();
    await act(async () => socket().receive(event, end)); // told again
    expect(status.textContent).toBe("");
    const next = { ...NOTICE, spent: "90000", percent: 90 };
    await act(async () => socket().receive(event, { ...end, budgetNotice: next }));
    expect(status.textContent).toContain("90%");
  },
);

test("the notice of an answer that no chat waits for any more is said, too", async () => {
  const { client, key, status } = await shown();
  act(() => void client.ask(key, "Hi!", { provider: "local" }));
  const end = { ...startOf(socket().lastSessionId), fullResponse: "", ...END };
  client.forget(key);
  await act(async () => socket().receive("llm:stream:error", end));
  expect(status.textContent).toContain("81%");
});

test("the notice of an answer that is attached to after its end is said", async () => {
  const { client, key, status } = await shown();
  act(() => void client.ask(key, "Hi!", { provider: "local" }));
  const start = startOf(socket().lastSessionId);
  await act(() => pass(15_000));
  const ended = { event: "llm:stream:done", data: { ...start, fullResponse: "Hello", ...END } };
  await act(async () => socket().answerAttach({ ok: true, ...start, text: "Hello", ended }));
  expect(status.textContent).toContain("81%");
});

test("a budget in money, of a group", () => {
  const group = { ...NOTICE, unit: "dollars", limit: "20", spent: "16.5", of: "group" } as const;
  const text = noticeText({ ...group, period: "month", percent: 82 });
  expect(text).toContain("82% of your group’s budget is used: $16.50 of $20.00 a month.");
});
