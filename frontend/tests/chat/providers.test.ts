import { expect, test } from "vitest";

import { offersOf, pick, type Provider } from "../../src/chat/providers";

function provider(name: string, usable: boolean, ...others: string[]): Provider {
  const models = others.map((model) => ({ name: model, label: `The ${model}` }));
  return { name, label: name, model: `${name}-1`, models, usable };
}

const OFFERS = offersOf([
  provider("claude", false, "claude-2"),
  provider("local", true),
  provider("openai", true, "openai-1", "openai-2"),
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
    "claude-1",
  ]);
});

test("the remembered choice is kept while it is offered", () => {
  const wanted = { provider: "openai", model: "openai-2" };
  expect(pick(OFFERS, wanted)?.model).toBe("openai-2");
  expect(pick(OFFERS, { provider: "claude", model: null })?.model).toBe("claude-1");
  expect(pick(OFFERS, { provider: "gone", model: null })?.model).toBe("openai-1");
  expect(pick([], wanted)).toBeNull();
});
