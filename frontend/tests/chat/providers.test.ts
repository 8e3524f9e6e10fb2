import { expect, test } from "vitest";

import { offersOf, pick, type Provider } from "../../src/chat/providers";

function provider(name: string, usable: boolean, ...others: string[]): Provider {
  const model = `${name}-1`;
  const models = [model, ...others].map((one) => ({ name: one, label: `The ${one}` }));
  return { name, label: name, model, models, usable };
}

const OFFERS = offersOf([
  provider("claude", false, "claude-2"),
  { name: "local", label: "local", model: "local-1", usable: true },
  provider("openai", true, "openai-2"),
]);

test("what is usable comes first, with each model once, and what is built in behind it", () => {
  expect(OFFERS.map(({ model }) => model)).toEqual([
    "openai-1",
    "openai-2",
    "local-1",
    "claude-1",
  ]);
});

test("a model is shown by its label, one that is not listed by its name", () => {
  expect(OFFERS.map(({ label }) => label)).toEqual([
    "The openai-1",
    "The openai-2",
    "local-1",
    "The claude-1",
  ]);
});

test("the remembered choice is kept while it is offered", () => {
  const wanted = { provider: "openai", model: "openai-2" };
  expect(pick(OFFERS, wanted)?.model).toBe("openai-2");
  expect(pick(OFFERS, { provider: "claude", model: null })?.model).toBe("claude-1");
  expect(pick(OFFERS, { provider: "gone", model: null })?.model).toBe("openai-1");
  expect(pick([], wanted)).toBeNull();
});

test("a default model that a group may not use is not offered", () => {
  const models = [{ name: "openai-2", label: "The openai-2" }];
  const offers = offersOf([{ ...provider("openai", true), models }, provider("claude", true)]);
  expect(offers.map(({ model }) => model)).toEqual(["openai-2", "claude-1"]);
  expect(pick(offers, null)?.choice).toEqual({ provider: "openai", model: "openai-2" });
  const none = offersOf([{ ...provider("openai", true), models: [] }]);
  expect(pick(none, null)).toBeNull();
});

test("what cannot answer is shown, also where its default model may not be used", () => {
  const offers = offersOf([{ ...provider("openai", false), models: [] }]);
  expect(offers.map(({ provider: { name } }) => name)).toEqual(["openai"]);
});

test.each([null, "claude-2", "claude-9"])(
  "with the choice %s of a provider that cannot answer, no other company is asked",
  (model) => {
    const picked = pick(OFFERS, { provider: "claude", model });
    expect(picked?.provider.name).toBe("claude");
    if (model === "claude-2") expect(picked?.choice.model).toBe(model);
  },
);

test("a model that is gone leaves the choice with its provider", () => {
  expect(pick(OFFERS, { provider: "openai", model: "openai-9" })?.model).toBe("openai-1");
});
