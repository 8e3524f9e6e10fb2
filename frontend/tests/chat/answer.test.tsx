/** What is said of an answer that failed. */
import { cleanup, render, screen } from "@testing-library/react";
import { afterEach, expect, test, vi } from "vitest";

import { Answer } from "../../src/chat/Answer";
import { Progress } from "../../src/chat/Progress";
import type { Turns } from "../../src/chat/turns";
import type { Message } from "../../src/llm";
import { newMessage } from "../../src/llm/chat";
import { UiProvider } from "../../src/ui";

vi.mock("../../src/chat/useBudgetText", () => ({ useBudgetText: () => null }));

afterEach(cleanup);

function turnsOf(adminUrl: string | undefined): Turns {
  return { labelOf: () => "OpenAI", adminUrlOf: () => adminUrl } as unknown as Turns;
}

function show(message: Message, turns = turnsOf(undefined)): void {
  render(
    <UiProvider>
      <Answer message={message} isLast={false} running={null} turns={turns} />
    </UiProvider>,
  );
}

test("why an answer could not be stopped is said below it", () => {
  const problem = { code: "database_unavailable", text: "No" };
  const running = { sessionId: "s", messageId: "a", phase: "writing" as const, startedAt: 0, problem };
  render(<Progress running={running} label="OpenAI" />);
  const said = screen.getByRole("alert").textContent;
  expect(said).toContain("The answer could not be stopped.");
  expect(said).toContain("The server cannot store anything right now.");
});

test.each([
  ["", "OpenAI reported an error."],
  ["Half an ans", "OpenAI stopped in the middle of the answer."],
])("after the words “%s” an error of the provider is: %s", (content, said) => {
  const problem = { code: "provider_error", text: "No" };
  show({ ...newMessage("a", "assistant", content), state: "error", problem });
  expect(screen.getByText(said)).toBeDefined();
});

test("whoever reads that an answer was stopped need not have stopped it", () => {
  show({ ...newMessage("a", "assistant", "Hel"), state: "cancelled" });
  expect(screen.getByText("This answer was stopped.")).toBeDefined();
});

test("those whom the server tells where are led to the admin, and nobody else is", () => {
  const problem = { code: "key_not_configured", text: "No" };
  const failed = { ...newMessage("a", "assistant", ""), state: "error" as const, problem };
  const page = "/chat/admin/llmchat/providerkey/add/?provider=1";
  show(failed, turnsOf(page));
  const link = screen.getByRole("link", { name: "Set it up in the admin" });
  expect(link.getAttribute("href")).toBe(page);
  cleanup();
  show(failed);
  expect(screen.queryByRole("link")).toBeNull();
  expect(screen.getByText(/contact your administrator/)).toBeDefined();
});
