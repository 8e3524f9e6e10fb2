import { act, cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { UiProvider, useToast } from "../../src/ui";
import type { ToastWish } from "../../src/ui/toasts";

let show: (wish: ToastWish) => () => void;

function Page() {
  show = useToast();
  return null;
}

beforeEach(() => {
  vi.useFakeTimers();
  render(
    <UiProvider>
      <Page />
    </UiProvider>,
  );
});

afterEach(() => {
  cleanup();
  vi.useRealTimers();
});

function pass(ms: number): void {
  act(() => void vi.advanceTimersByTime(ms));
}

test("a message goes after its time, and says that its action was not taken", () => {
  const onGone = vi.fn();
  const action = { label: "Undo", run: vi.fn() };
  act(() => void show({ text: "Deleted", action, onGone }));
  pass(9_999);
  expect(screen.queryByText("Deleted")).not.toBeNull();
  pass(1);
  expect(screen.queryByText("Deleted")).toBeNull();
  expect(onGone).toHaveBeenCalledOnce();
  expect(action.run).not.toHaveBeenCalled();
});

test("its action is taken once, and is no end by itself", () => {
  const onGone = vi.fn();
  const action = { label: "Undo", run: vi.fn() };
  act(() => void show({ text: "Deleted", action, onGone }));
  fireEvent.click(screen.getByRole("button", { name: "Undo" }));
  pass(60_000);
  expect(action.run).toHaveBeenCalledOnce();
  expect(onGone).not.toHaveBeenCalled();
  expect(screen.queryByText("Deleted")).toBeNull();
});

test("it stays while the focus is in it", () => {
  act(() => void show({ text: "Renamed" }));
  act(() => screen.getByRole("button", { name: "Dismiss" }).focus());
  pass(60_000);
  expect(screen.queryByText("Renamed")).not.toBeNull();
  act(() => screen.getByRole("button", { name: "Dismiss" }).blur());
  pass(6_000);
  expect(screen.queryByText("Renamed")).toBeNull();
});

test("a fourth lets the oldest go", () => {
  const onGone = vi.fn();
  act(() => {
    show({ text: "One", onGone });
    for (const text of ["Two", "Three", "Four"]) show({ text });
  });
  expect(screen.queryByText("One")).toBeNull();
  expect(screen.getAllByRole("button", { name: "Dismiss" })).toHaveLength(3);
  expect(onGone).toHaveBeenCalledOnce();
});
