/** Tokens that have expired, and pages that go before the new ones have come. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { ACCESS_KEY, REFRESH_KEY } from "../../src/llm/session";

const NEW = { access: token(600), refresh: "new" };

let refreshes: string[];
let answers: (() => Promise<Response>)[];

beforeEach(() => {
  refreshes = [];
  answers = [];
  // As on plain HTTP, where browsers have no Web Locks.
  Object.defineProperty(navigator, "locks", { value: undefined, configurable: true });
  localStorage.setItem(ACCESS_KEY, token(-600));
  localStorage.setItem(REFRESH_KEY, "old");
  vi.stubGlobal("fetch", (_: unknown, { body }: { body: string }) => {
    refreshes.push(JSON.parse(body).refresh);
    return answers.shift()!();
  });
});

afterEach(() => {
  vi.unstubAllGlobals();
  Reflect.deleteProperty(navigator, "locks");
  localStorage.clear();
});

/** An access token that expires in so many seconds. */
function token(seconds: number): string {
  const exp = Math.floor(Date.now() / 1000) + seconds;
  return `head.${btoa(JSON.stringify({ exp, user_id: "1" }))}.signature`;
}

function json(status: number, body: object): () => Promise<Response> {
  return async () => new Response(JSON.stringify(body), { status });
}

const lost = () => new Promise<Response>(() => undefined);
const refused = json(401, { error: "Authentication token invalid", code: "token_invalid" });

/** The module as a page has it that was just loaded. */
async function loaded(): Promise<typeof import("../../src/llm/session")> {
  vi.resetModules();
  return import("../../src/llm/session");
}

test("a page that is reloaded in the middle of a refresh refreshes again", async () => {
  answers = [lost, json(200, NEW)];
  void (await loaded()).accessToken();

  expect(await (await loaded()).accessToken()).toBe(NEW.access);
  expect(refreshes).toEqual(["old", "old"]);
  expect(localStorage.getItem(REFRESH_KEY)).toBe("new");
});

test("a page that is refused takes what another tab has stored meanwhile", async () => {
  answers = [
    async () => {
      localStorage.setItem(ACCESS_KEY, NEW.access);
      localStorage.setItem(REFRESH_KEY, NEW.refresh);
      return refused();
    },
  ];

  expect(await (await loaded()).accessToken()).toBe(NEW.access);
});

test("tokens that come too late do not take the place of another user's", async () => {
  const others = { access: token(900), refresh: "of another user" };
  answers = [
    async () => {
      // Meanwhile, in another tab, one user has logged out and another one in.
      localStorage.setItem(ACCESS_KEY, others.access);
      localStorage.setItem(REFRESH_KEY, others.refresh);
      return json(200, NEW)();
    },
  ];

  expect(await (await loaded()).accessToken()).toBe(others.access);
  expect(localStorage.getItem(ACCESS_KEY)).toBe(others.access);
  expect(localStorage.getItem(REFRESH_KEY)).toBe("of another user");
});

test.each([
  ["a 401 of what stands between", async () => new Response("Who are you?", { status: 401 })],
  ["a page to log in to a network", async () => new Response("<!doctype html>")],
  ["a word of what stands between", json(200, { message: "who" })],
  ["an empty answer", async () => new Response(null, { status: 204 })],
  ["half a pair", json(200, { access: NEW.access })],
])("%s logs nobody out", async (_, answer) => {
  answers = [answer, json(200, NEW)];
  const { accessToken } = await loaded();

  await expect(accessToken()).rejects.toThrow();
  expect(localStorage.getItem(REFRESH_KEY)).toBe("old");
  expect(await accessToken()).toBe(NEW.access);
  expect(refreshes).toEqual(["old", "old"]);
});

test("a page that is refused, and finds nothing, is logged out at once", async () => {
  answers = [refused];

  expect(await (await loaded()).accessToken()).toBeNull();
  expect(localStorage.getItem(REFRESH_KEY)).toBeNull();
});
