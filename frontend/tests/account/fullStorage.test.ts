/** A browser whose localStorage is full: what is not kept breaks nothing. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { Account } from "../../src/account/account";
import { rememberChoice, rememberedChoice } from "../../src/chat/providers";
import { isLoggedIn } from "../../src/llm";
import { reset, restore } from "../llm/fakes";

beforeEach(() => {
  reset();
  rememberChoice({ provider: "local", model: null });
  vi.stubGlobal("localStorage", full(localStorage));
});
afterEach(restore);

/** Takes no more than it has now, until something has gone. */
function full(storage: Storage) {
  const size = () => Object.entries(storage).join().length;
  const most = size();
  return {
    getItem: (key: string) => storage.getItem(key),
    removeItem: (key: string) => storage.removeItem(key),
    clear: () => storage.clear(),
    setItem(key: string, value: string) {
      if (size() + key.length + value.length > most) {
        throw new DOMException("Full", "QuotaExceededError");
      }
      storage.setItem(key, value);
    },
  };
}

test("whoever logs out is logged out", () => {
  const account = new Account(() => undefined);
  account.logOut();
  expect(isLoggedIn()).toBe(false);
  expect(account.current().phase).toBe("out");
  expect(localStorage.getItem("llmchat.left")).not.toBeNull(); // the other tabs are told
});

test("whoever has deleted the account is logged out", () => {
  const account = new Account(() => undefined);
  account.forget("Your account is deleted.");
  expect(isLoggedIn()).toBe(false);
  expect(account.current()).toMatchObject({ phase: "out", notice: "Your account is deleted." });
});

test("another model can be chosen, and the one before is remembered", () => {
  rememberChoice({ provider: "openai", model: "large" });
  expect(rememberedChoice()).toEqual({ provider: "local", model: null });
});
