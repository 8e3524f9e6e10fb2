import { readFileSync } from "node:fs";
import { resolve } from "node:path";

import { describe, expect, test } from "vitest";

const SOURCE = readFileSync(resolve("src/styles/tokens.css"), "utf8");
const PAIR = /--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)/g;
const COLOURS = new Map(
  [...SOURCE.matchAll(PAIR)].map(([, name = "", light = "", dark = ""]) => [
    name,
    { light, dark },
  ]),
);
const SURFACES = ["page", "sunken", "surface", "raised", "accent-soft"];
const TEXTS = ["ink", "ink-soft", "accent", "accent-hover", "rubric", "danger", "good"];
const ON: [string, string][] = [
  ["on-accent", "accent"],
  ["on-accent", "accent-hover"],
  ["on-danger", "danger"],
  ["on-danger", "danger-hover"],
  ["danger", "danger-soft"],
  ["warn", "warn-soft"],
  ["ink", "warn-soft"],
];

describe.each(["light", "dark"] as const)("in the %s theme", (theme) => {
  test("every text reads on every surface", () => {
    const pairs = TEXTS.flatMap((text) => SURFACES.map((on) => [text, on] as const));
    for (const [text, on] of [...pairs, ...ON]) {
      expect(contrast(text, on, theme), `${text} on ${on}`).toBeGreaterThan(4.5);
    }
  });

  test("borders and the focus ring stand out from every surface", () => {
    for (const mark of ["line-strong", "focus"]) {
      for (const on of SURFACES) {
        expect(contrast(mark, on, theme), `${mark} on ${on}`).toBeGreaterThan(3);
      }
    }
  });
});

/** WCAG's contrast ratio. */
function contrast(one: string, other: string, theme: "light" | "dark"): number {
  const [low = 0, high = 0] = [one, other]
    .map((name) => luminance(COLOURS.get(name)?.[theme] ?? `no colour ${name}`))
    .sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

function luminance(hex: string): number {
  const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((at) => {
    const part = parseInt(hex.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
