/** What is said of an answer that failed. */
import { cleanup, render, screen } from "@testing-library/react";
import { afterEach, expect, test, vi } from "vitest";

import { Answer } from "../../src/chat/Answer";
import { Progress } from "../../src/chat/Progress";
import type { Turns } from "../../src/chat/turns";
import { newMessage } from "../../src/llm/chat";
import { UiProvider } from "../../src/ui";

vi.mock("../../src/account", () => ({ useAccount: () => ({ user: { isStaff: false } }) }));
vi.mock("../../src/chat/useBudgetText", () => ({ useBudgetText: () => null }));

afterEach(cleanup);

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
  ["Half an ans", "OpenAI broke off in the middle of the answer."],
])("after the words “%s” an error of the provider is: %s", (content, said) => {
  const problem = { code: "provider_error", text: "No" };
  const answer = newMessage("a", "assistant", content);
  const turns = { labelOf: () => "OpenAI" } as unknown as Turns;
  render(
    <UiProvider>
      <Answer message={{ ...answer, state: "error", problem }} isLast={false} running={null} turns={turns} />
    </UiProvider>,
  );
  expect(screen.getByText(said)).toBeDefined();
});
