/** A fault of the page itself. */
import { render, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { ErrorBoundary } from "../src/ErrorBoundary";

beforeEach(() => void vi.spyOn(console, "error").mockImplementation(() => undefined));
afterEach(() => vi.restoreAllMocks());

function Broken(): never {
  throw new Error("A fault");
}

test("a page that cannot be drawn says so, and can be reloaded", () => {
  render(
    <ErrorBoundary>
      <Broken />
    </ErrorBoundary>,
  );
  expect(screen.getByRole("alert").textContent).toContain("Something went wrong");
  expect(document.activeElement).toBe(screen.getByRole("button", { name: "Reload the page" }));
});

test("one that can be drawn is", () => {
  render(
    <ErrorBoundary>
      <p>The page</p>
    </ErrorBoundary>,
  );
  screen.getByText("The page");
  expect(screen.queryByRole("alert")).toBeNull();
});
