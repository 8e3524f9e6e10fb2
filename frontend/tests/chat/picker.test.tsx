/** What can be picked, where the server could not tell at first. */
import { act, fireEvent, render, screen } from "@testing-library/react";
import { createRef } from "react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { AccountContext } from "../../src/account/context";
import { ComposerArea } from "../../src/chat/ComposerArea";
import { usePicker } from "../../src/chat/useProviders";
import { UiProvider } from "../../src/ui";
import { pass, reset, restore } from "../llm/fakes";

const LOCAL = { name: "local", label: "Built in", model: "small", usable: true };
const USER = { id: 1, username: "ada", email: "", isStaff: false };
let asked: number[];
let isDown: boolean;
let providers: object[];

beforeEach(() => {
  reset();
  asked = [];
  isDown = true;
  providers = [LOCAL];
  vi.stubGlobal("CSS", { supports: () => true });
  vi.stubGlobal("fetch", async () => {
    asked.push(Date.now());
    return isDown
      ? Response.json({ error: "No database", code: "database_unavailable" }, { status: 503 })
      : Response.json({ providers });
  });
});
afterEach(restore);

function Box({ marks }: { marks: string }) {
  const picker = usePicker(marks);
  return (
    <ComposerArea
      box={box}
      draft="Hi!"
      onDraft={() => undefined}
      phase={null}
      unread={false}
      tooLong={false}
      turns={{} as never}
      picker={picker}
    />
  );
}

const box = createRef<HTMLTextAreaElement>();
const nothing = () => undefined;
const account = { user: USER, session: 1, endSession: nothing, logOut: nothing, openSettings: nothing };

function page(marks = "") {
  return (
    <UiProvider>
      <AccountContext value={account}>
        <Box marks={marks} />
      </AccountContext>
    </UiProvider>
  );
}

function canSend(): boolean {
  return !screen.getByRole<HTMLButtonElement>("button", { name: "Send" }).disabled;
}

/** React draws between the seconds only. */
async function wait(...seconds: number[]): Promise<void> {
  for (const each of seconds) await act(() => pass(each * 1000));
}

test("the server is asked again, less often the longer it fails", async () => {
  render(page());
  await wait(0.02, ...Array<number>(31).fill(1));
  const waits = asked.slice(1).map((at, index) => Math.round((at - asked[index]!) / 1000));
  expect(waits).toEqual([2, 4, 8, 16]);
  await wait(32, 60, 60);
  expect(asked).toHaveLength(8);
  expect(canSend()).toBe(false);

  isDown = false;
  await wait(60);
  expect(canSend()).toBe(true);
  await wait(60, 60);
  expect(asked).toHaveLength(9);
});

test("whoever does not want to wait tries again, and writes on", async () => {
  render(page());
  await act(() => pass());
  const note = screen.getByText("No database").closest("[role=status]");
  expect(note).not.toBeNull();
  isDown = false;
  await act(async () => {
    fireEvent.click(screen.getByRole("button", { name: "Try again" }));
    await pass();
  });
  expect(asked).toHaveLength(2);
  expect(canSend()).toBe(true);
  expect(screen.queryByText("No database")).toBeNull();
  expect(document.activeElement).toBe(box.current);
});

test("another session may use other models", async () => {
  isDown = false;
  const { rerender } = render(page("1 0"));
  await act(() => pass());
  rerender(page("2 0"));
  await act(() => pass());
  expect(asked).toHaveLength(2);
});

function picked(): string | null {
  return screen.getByRole("button", { name: /^Model:/ }).textContent;
}

test("where nobody has chosen, no other company is asked than the one that was", async () => {
  isDown = false;
  const claude = { ...LOCAL, name: "claude", label: "Claude", model: "sonnet" };
  const other = { ...LOCAL, name: "other", label: "Other" };
  providers = [claude, other];
  const { rerender } = render(page("0"));
  await act(() => pass());
  expect(picked()).toContain("Claude");

  // As after an answer that failed for it.
  providers = [{ ...claude, usable: false, code: "provider_auth", error: "No" }, other];
  rerender(page("1"));
  await act(() => pass());
  expect(picked()).toContain("Claude");
  screen.getByText(/Claude rejected the server’s API key/);
});

test("what could not answer from the start makes way for what can", async () => {
  isDown = false;
  providers = [{ ...LOCAL, usable: false, code: "local_model_missing", error: "No" }];
  const { rerender } = render(page("0"));
  await act(() => pass());
  expect(picked()).toContain("Built in");

  providers = [...providers, { ...LOCAL, name: "other", label: "Other" }];
  rerender(page("1"));
  await act(() => pass());
  expect(picked()).toContain("Other");
});
