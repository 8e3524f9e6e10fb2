import { expect, test } from "vitest";

import { errorsOf } from "../../src/account/formErrors";
import { ApiError } from "../../src/llm";

const FIELDS = ["username", "password"];

test.each([
  [
    "password: This password is too common.",
    { password: "This password is too common." },
  ],
  ["email: Enter a valid address.", { "": "email: Enter a valid address." }],
  ["Registration is switched off", { "": "Registration is switched off" }],
])("%s", (text, errors) => {
  expect(errorsOf(new ApiError(400, "bad_request", text), FIELDS)).toEqual(errors);
});

test("a code may name the field", () => {
  const error = new ApiError(401, "invalid_credentials", "The password is wrong");
  const byCode = { invalid_credentials: "password" };
  expect(errorsOf(error, FIELDS, byCode)).toEqual({ password: "The password is wrong" });
  expect(errorsOf(error, FIELDS)).toEqual({ "": "The password is wrong" });
});

test("who has to wait is told how long", () => {
  const error = new ApiError(429, "rate_limited", "Rate limit exceeded", 1);
  expect(errorsOf(error, FIELDS)).toEqual({
    "": "Rate limit exceeded. Try again in 1 second.",
  });
});
