/** Answers that cannot be read, or do not come. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { ApiError, authorizedFile, request } from "../../src/llm";
import { accessToken } from "../../src/llm/session";
import { NEW, pass, reset, restore } from "./fakes";

const SILENCE_MS = 30_000;
const REFRESH_MS = 10_000;
const UNREACHABLE = { status: 0, code: "unreachable" };

beforeEach(reset);
afterEach(restore);

type Body = ReadableStreamDefaultController<Uint8Array>;

/** The headers come at once; `write` is given the body, which breaks where it is given up. */
function answering(type: string, write: (body: Body) => void): void {
  vi.stubGlobal("fetch", (_: string, { signal }: RequestInit) => {
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        signal?.addEventListener("abort", () => controller.error(new Error("aborted")));
        write(controller);
      },
    });
    return Promise.resolve(new Response(body, { headers: { "Content-Type": type } }));
  });
}

/** Neither headers nor anything else comes. */
function hang(_: string, { signal }: RequestInit): Promise<Response> {
  return new Promise((_resolve, reject) => {
    signal?.addEventListener("abort", () => reject(new Error("aborted")));
  });
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** What a request becomes, without waiting for it. */
function outcomeOf<T>(promise: Promise<T>): { value?: T; error?: unknown } {
  const outcome: { value?: T; error?: unknown } = {};
  promise.then(
    (value) => (outcome.value = value),
    (error: unknown) => (outcome.error = error),
  );
  return outcome;
}

test.each([
  ["a body that breaks off", "application/json", (body: Body) => body.error(new Error("lost"))],
  ["a page of what stands between", "text/html", pageOf("<!doctype html><p>Log in here")],
  ["no object", "application/json", pageOf("null")],
])("%s is no answer of the server", async (_, type, write) => {
  answering(type, write);
  await expect(request("/llm/providers")).rejects.toMatchObject(UNREACHABLE);
  await expect(request("/llm/providers")).rejects.toBeInstanceOf(ApiError);
});

test("what stands between is not saved as a file", async () => {
  answering("text/html", pageOf("<!doctype html><p>Log in here"));
  await expect(authorizedFile("/llm/export")).rejects.toMatchObject(UNREACHABLE);
});

function pageOf(text: string): (body: Body) => void {
  return (body) => {
    body.enqueue(bytes(text));
    body.close();
  };
}

test("an answer without a body is one", async () => {
  vi.stubGlobal("fetch", () => Promise.resolve(new Response(null, { status: 204 })));
  expect(await request("/llm/conversations/c1", { method: "DELETE" })).toBeNull();
});

test("a request that hangs is given up", async () => {
  vi.stubGlobal("fetch", hang);
  const outcome = outcomeOf(request("/llm/providers"));
  await pass(SILENCE_MS - 1);
  expect(outcome).toEqual({});
  await pass(1);
  expect(outcome.error).toMatchObject(UNREACHABLE);
});

test("a page that slept hears what has come meanwhile, before it gives up", async () => {
  let answer: ((response: Response) => void) | undefined;
  vi.stubGlobal("fetch", (_: string, { signal }: RequestInit) => {
    return new Promise((resolve, reject) => {
      answer = resolve;
      signal?.addEventListener("abort", () => reject(new Error("aborted")));
    });
  });
  const outcome = outcomeOf(request("/auth/token/refresh"));
  vi.setSystemTime(Date.now() + 600_000); // no timer runs meanwhile
  await pass(SILENCE_MS);
  answer?.(Response.json({ access: NEW }));
  await pass();
  expect(outcome).toEqual({ value: { access: NEW } });

  const hanging = outcomeOf(request("/auth/token/refresh"));
  vi.setSystemTime(Date.now() + 600_000);
  await pass(2 * SILENCE_MS);
  expect(hanging.error).toMatchObject(UNREACHABLE);
});

test("a refresh that hangs lets the next one begin", async () => {
  localStorage.removeItem("jwt_token");
  const fetch = vi.fn(hang);
  vi.stubGlobal("fetch", fetch);
  const hanging = outcomeOf(accessToken());
  await pass(REFRESH_MS - 1);
  expect(hanging).toEqual({});
  await pass(1);
  expect(hanging.error).toMatchObject(UNREACHABLE);

  fetch.mockImplementation(async () => Response.json({ access: NEW, refresh: "next" }));
  expect(await accessToken()).toBe(NEW);
});

test("a file may take as long as something comes of it", async () => {
  let body: Body | undefined;
  answering("application/json", (controller) => (body = controller));
  const outcome = outcomeOf(authorizedFile("/llm/export"));
  for (const part of ["one ", "two ", "three"]) {
    await pass(SILENCE_MS - 1);
    body?.enqueue(bytes(part));
    await pass(0);
  }
  body?.close();
  await pass();
  expect(await outcome.value?.text()).toBe("one two three");
});

test("a file of which nothing more comes is given up", async () => {
  answering("application/json", (body) => body.enqueue(bytes("one ")));
  const outcome = outcomeOf(authorizedFile("/llm/export"));
  await pass(SILENCE_MS + 1);
  expect(outcome.error).toMatchObject(UNREACHABLE);
});

test("a file is asked for once more where the token is refused", async () => {
  const tokens: unknown[] = [];
  vi.stubGlobal("fetch", async (path: string, { headers }: { headers: HeadersInit }) => {
    if (path === "/auth/token/refresh") return Response.json({ access: NEW, refresh: "next" });
    tokens.push((headers as Record<string, string>)["Authorization"]);
    if (tokens.length > 1) return new Response("all", { status: 200 });
    return Response.json({ error: "No", code: "token_expired" }, { status: 401 });
  });
  expect(await (await authorizedFile("/llm/export")).text()).toBe("all");
  expect(tokens.at(-1)).toBe(`Bearer ${NEW}`);
});
