/** Whoever leaves on purpose wants nothing to be left; a page that breaks keeps it. */
import { act, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { AccountProvider, useAccount } from "../../src/account";
import { UiProvider } from "../../src/ui";
import { pass, reset, restore } from "../llm/fakes";

beforeEach(() => {
  reset();
  const user = { id: 1, username: "ada", email: "", isStaff: false };
  vi.stubGlobal("fetch", async () => Response.json(user));
});
afterEach(restore);

function Inside() {
  return <button onClick={useAccount().logOut}>Log out</button>;
}

async function shown(onLeft: () => void) {
  const page = render(
    <UiProvider>
      <AccountProvider onLeft={onLeft}>
        <Inside />
      </AccountProvider>
    </UiProvider>,
  );
  await act(() => pass());
  return page;
}

test("a log-out is told, here and in another tab", async () => {
  const onLeft = vi.fn();
  await shown(onLeft);
  await act(async () => screen.getByText("Log out").click());
  expect(onLeft).toHaveBeenCalledOnce();

  act(() => {
    window.dispatchEvent(new StorageEvent("storage", { key: "llmchat.left", newValue: "1" }));
  });
  expect(onLeft).toHaveBeenCalledTimes(2);
});

test("neither a session that ends nor a page that goes is a log-out", async () => {
  const onLeft = vi.fn();
  const page = await shown(onLeft);
  localStorage.clear();
  act(() => {
    window.dispatchEvent(new StorageEvent("storage", { key: null, newValue: null }));
  });
  screen.getByRole("dialog", { name: "Your session has ended" });
  page.unmount();
  expect(onLeft).not.toHaveBeenCalled();
});
