/** The list of conversations, a page at a time. */
import { act, render, screen } from "@testing-library/react";
import { createRef } from "react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { Sidebar } from "../../src/sidebar/Sidebar";
import { useConversations } from "../../src/sidebar/useConversations";
import { UiProvider } from "../../src/ui";
import { pass, reset, restore } from "../llm/fakes";

const LATER = "cursor=later";
let answers: { path: string; give: (page: object) => void }[];

beforeEach(() => {
  reset();
  answers = [];
  vi.stubGlobal("fetch", (path: string) => {
    const give = (resolve: (response: Response) => void) => (page: object) =>
      resolve(Response.json(page));
    return new Promise<Response>((resolve) => answers.push({ path, give: give(resolve) }));
  });
  vi.stubGlobal("IntersectionObserver", InSight);
});
afterEach(restore);

/** Of a list that is shorter than its place: its end is always in sight. */
class InSight {
  constructor(private onChange: (entries: object[]) => void) {}
  observe(): void {
    queueMicrotask(() => this.onChange([{ isIntersecting: true }]));
  }
  disconnect(): void {
    this.onChange = () => undefined;
  }
}

function List({ marks }: { marks: string }) {
  const conversations = useConversations(marks);
  return (
    <UiProvider>
      <Sidebar
        conversations={conversations}
        deletions={{ isDeleted: () => false, remove: () => undefined }}
        marks={new Map()}
        shown={null}
        searchBox={createRef<HTMLInputElement>()}
        onOpen={() => undefined}
        onNew={() => undefined}
        onDelete={() => undefined}
      >
        {null}
      </Sidebar>
    </UiProvider>
  );
}

function page(id: string, cursor: string | null): object {
  return { results: [{ id, title: id, updatedAt: "2026-01-01T00:00:00Z" }], cursor };
}

/** Answers the last request. */
async function answer(given: object): Promise<void> {
  await act(() => {
    answers.at(-1)?.give(given);
    return pass();
  });
}

test("what a refresh has overtaken is asked for again", async () => {
  const { rerender } = render(<List marks="" />);
  await act(() => pass());
  await answer(page("first", "later"));
  expect(answers.at(-1)?.path).toContain(LATER);
  screen.getByRole("img", { name: "Loading more" });
  const overtaken = answers.at(-1);

  rerender(<List marks="answered" />);
  await act(() => pass());
  expect(answers.at(-1)?.path).not.toContain(LATER);
  await answer(page("first", "later"));
  overtaken?.give(page("second", null));
  expect(answers.at(-1)?.path).toContain(LATER);
  expect(answers.at(-1)).not.toBe(overtaken);
  await answer(page("second", null));
  expect(screen.getAllByRole("listitem")).toHaveLength(2);
  expect(screen.queryByRole("img", { name: "Loading more" })).toBeNull();
});

test("an answer that is none leaves the list, and it can be read again", async () => {
  vi.stubGlobal("fetch", async () => new Response("<!doctype html><p>Log in here"));
  render(<List marks="" />);
  await act(() => pass());
  screen.getByText("The server cannot be reached.");

  vi.stubGlobal("fetch", async () => Response.json(page("first", null)));
  await act(async () => {
    screen.getByRole("button", { name: "Try again" }).click();
    await pass();
  });
  expect(screen.getAllByRole("listitem")).toHaveLength(1);
});
