/** What is deleted is deleted, however the page is left before *Undo* has gone. */
import { act, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { logOut } from "../../src/llm";
import { useDeletions } from "../../src/sidebar/useDeletions";
import { UiProvider } from "../../src/ui";
import { FRESH, NEW, pass, reset, restore } from "../llm/fakes";

const onDeleted = vi.fn();
const onUndo = vi.fn();
let deletions: { path: string; token: string | undefined; keepalive: boolean | undefined }[];
let answer: () => Response;

beforeEach(() => {
  reset();
  deletions = [];
  answer = () => new Response(null, { status: 204 });
  onDeleted.mockClear();
  onUndo.mockClear();
  vi.stubGlobal("fetch", async (path: string, { method, headers, keepalive }: RequestInit) => {
    if (method !== "DELETE") return Response.json({});
    const token = (headers as Record<string, string>)["Authorization"];
    deletions.push({ path, token, keepalive });
    return answer();
  });
});
afterEach(() => {
  vi.restoreAllMocks();
  restore();
});

function List() {
  const { isDeleted, remove } = useDeletions(onDeleted);
  return isDeleted("c1") ? (
    <p>Nothing</p>
  ) : (
    <button onClick={() => remove("c1", "My illness", onUndo)}>Delete it</button>
  );
}

/** The page with a conversation that was deleted a moment ago. */
async function deleted() {
  const page = render(<List />, { wrapper: UiProvider });
  await act(async () => screen.getByText("Delete it").click());
  screen.getByText("Deleted “My illness”.");
  return page;
}

async function hide(): Promise<void> {
  vi.spyOn(document, "visibilityState", "get").mockReturnValue("hidden");
  await act(() => {
    document.dispatchEvent(new Event("visibilitychange"));
    return pass();
  });
}

const OWN = { path: "/llm/conversations/c1", token: `Bearer ${FRESH}`, keepalive: true };

test("whoever logs out has deleted it, and leaves no message", async () => {
  const page = await deleted();
  await act(async () => {
    logOut();
    page.rerender(<p>Log in</p>);
  });
  await act(() => pass());
  expect(deletions).toEqual([OWN]);
  expect(document.body.textContent).not.toContain("My illness");
  await act(() => pass(60_000));
  expect(deletions).toHaveLength(1);
});

test("nobody is told that it failed who did not delete it", async () => {
  answer = () => Response.json({ error: "No", code: "token_invalid" }, { status: 401 });
  const page = await deleted();
  await act(async () => {
    logOut();
    page.rerender(<p>Log in</p>);
  });
  await act(() => pass());
  expect(document.body.textContent).not.toContain("could not be deleted");
});

test("it goes with the token of its user, though another one has logged in", async () => {
  const page = await deleted();
  await act(async () => {
    localStorage.setItem("jwt_token", NEW);
    page.rerender(<p>Log in</p>);
  });
  await act(() => pass());
  expect(deletions).toEqual([OWN]);
});

test("a page that is hidden or goes has deleted it, once", async () => {
  await deleted();
  await hide();
  expect(deletions).toEqual([OWN]);
  expect(onDeleted).toHaveBeenCalledWith("c1");
  expect(screen.queryByText("Undo")).toBeNull(); // which could not be kept
  await act(async () => void window.dispatchEvent(new Event("pagehide")));
  expect(deletions).toHaveLength(1);
});

test("one that cannot be deleted is back, and its user is told", async () => {
  answer = () => Response.json({ error: "No", code: "database_unavailable" }, { status: 503 });
  await deleted();
  await act(() => pass(10_020));
  screen.getByText("Delete it");
  screen.getByText("The conversation could not be deleted.");
});

test("what is brought back is not deleted", async () => {
  const page = await deleted();
  await act(async () => screen.getByText("Undo").click());
  expect(onUndo).toHaveBeenCalledOnce();
  screen.getByText("Delete it");
  await hide();
  page.unmount();
  await act(() => pass(60_000));
  expect(deletions).toEqual([]);
});
