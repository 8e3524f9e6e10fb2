/** The providers that the server offers, and the choice that this browser remembers. */

/** A model of a provider: the name for requests, and the one for people. */
export interface Model {
  name: string;
  label: string;
}

/** One row of GET /llm/providers. */
export interface Provider {
  name: string;
  label: string;
  /** The default model. */
  model: string;
  /** The models that can be asked, including the default one if that is allowed. */
  models?: Model[];
  usable: boolean;
  /** Why it cannot be used; absent if it can. */
  error?: string;
  code?: string;
  /** Where in the admin this can be changed; absent if the user has no access. */
  adminUrl?: string;
}

export interface Choice {
  provider: string;
  /** Null is the provider's default model. */
  model: string | null;
}

/** Something that can be picked: a provider with one of its models. */
export interface Offer {
  provider: Provider;
  model: string;
  /** The model's name for people. */
  label: string;
  choice: Choice;
}

const STORED = "llmchat-model";

// Built in for servers without any key. Its model is small, so it is not a first choice.
const BUILT_IN = "local";

/** All that can be picked, with usable providers first; otherwise in the server's order. */
export function offersOf(providers: Provider[]): Offer[] {
  const isBuiltIn = ({ name }: Provider) => Number(name === BUILT_IN);
  const usable = providers
    .filter((provider) => provider.usable)
    .sort((one, other) => isBuiltIn(one) - isBuiltIn(other));
  const others = providers.filter((provider) => !provider.usable);
  const firstOf = (provider: Provider) => modelsOf(provider)[0] ?? defaultOf(provider);
  return [...usable.flatMap(modelsOf), ...others.map(firstOf)];
}

/**
 * The remembered choice, or else another model of its provider, even if that cannot answer
 * now: the conversation is not sent to another company unless the user says so. If the
 * provider is gone, the first offer.
 */
export function pick(offers: Offer[], wanted: Choice | null): Offer | null {
  const near = offers.find(({ provider }) => provider.name === wanted?.provider);
  const own = near === undefined ? [] : modelsOf(near.provider);
  const same = own.find(({ choice }) => choice.model === wanted?.model);
  return same ?? near ?? offers[0] ?? null;
}

export function rememberedChoice(): Choice | null {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(STORED) ?? "null");
    return isChoice(stored) ? stored : null;
  } catch {
    return null;
  }
}

export function rememberChoice(choice: Choice): void {
  try {
    localStorage.setItem(STORED, JSON.stringify(choice));
  } catch {
    // The storage is full: the choice lasts as long as the page.
  }
}

/** The models of a provider, the default first, unless the server would refuse that one. */
function modelsOf(provider: Provider): Offer[] {
  const { models } = provider;
  if (models === undefined) return [defaultOf(provider)];
  const isDefault = ({ name }: Model) => name === provider.model;
  const others = models.filter((model) => !isDefault(model));
  return [
    ...(models.some(isDefault) ? [defaultOf(provider)] : []),
    ...others.map(({ name, label }) => ({
      provider,
      model: name,
      label,
      choice: { provider: provider.name, model: name },
    })),
  ];
}

function defaultOf(provider: Provider): Offer {
  const { name, model, models } = provider;
  const label = models?.find((one) => one.name === model)?.label ?? model;
  return { provider, model, label, choice: { provider: name, model: null } };
}

function isChoice(value: unknown): value is Choice {
  if (typeof value !== "object" || value === null) return false;
  const { provider, model } = value as Record<string, unknown>;
  return typeof provider === "string" && (model === null || typeof model === "string");
}
