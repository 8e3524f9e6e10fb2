/** What becomes of the answers when the chats are no longer shown. */
import { act, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { App } from "../src/App";
import { LLMClient } from "../src/llm";
import { Connection } from "../src/llm/connection";
import { UiProvider } from "../src/ui";
import { pass, reset, restore } from "./llm/fakes";

vi.mock("../src/chat/Page", () => ({ Page: () => <p>The chats</p> }));

const USER = { id: 1, username: "ada", email: "", isStaff: false };

beforeEach(() => {
  reset();
  vi.stubGlobal("fetch", async () => Response.json(USER));
  vi.spyOn(LLMClient.prototype, "open").mockReturnValue(undefined);
});
afterEach(() => {
  vi.restoreAllMocks();
  restore();
});

async function shown() {
  const close = vi.spyOn(Connection.prototype, "close");
  const page = render(<App />, { wrapper: UiProvider });
  await act(() => pass());
  screen.getByText("The chats");
  return { page, close };
}

test("a log-out in another tab ends them, though the tokens are still to go", async () => {
  const { close } = await shown();
  act(() => {
    window.dispatchEvent(new StorageEvent("storage", { key: "llmchat.left", newValue: "1" }));
  });
  expect(screen.queryByText("The chats")).toBeNull();
  expect(close.mock.calls[0]).toEqual([{ leaves: true }]);
});

test("a page that breaks leaves them running", async () => {
  const { page, close } = await shown();
  page.unmount();
  expect(close.mock.calls[0]).toEqual([{ leaves: false }]);
});
