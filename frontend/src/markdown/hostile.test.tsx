/** What models can be made to write: none of it is run or fetched, or hangs the page. */

import { render } from "@testing-library/react";
import { expect, test } from "vitest";

import { advance, EMPTY, MAX_BLOCKS } from "./blocks";
import { HOSTILE } from "./hostile";
import Markdown from "./Markdown";

const HARMLESS = new Set(
  ("div p span h3 h4 h5 h6 ul ol li blockquote hr table thead tbody tr th td strong em del br " +
    "code pre figure figcaption button a").split(" "),
);

test.each(HOSTILE)("%j is inert", (text) => {
  const { container } = render(<Markdown text={text} />);

  for (const element of container.querySelectorAll("*")) {
    expect(HARMLESS).toContain(element.localName);
    for (const { name, value } of element.attributes) {
      expect(name).not.toMatch(/^(on|style|src|srcset|srcdoc|action|formaction)/);
      if (name === "href") expect(value).toMatch(/^(https?|mailto|tel):/);
    }
  }
  for (const link of container.querySelectorAll("a")) {
    expect(link.target).toBe("_blank");
    expect(link.rel).toBe("noopener noreferrer nofollow");
  }
});

test("an image is a link with its description", () => {
  const { container } = render(<Markdown text="![a cat](https://evil.example/c.png?who=1)" />);
  expect(container.querySelector("img")).toBeNull();
  expect(container.querySelector("a")?.textContent).toBe("a cat");
});

test("HTML is text", () => {
  const { container } = render(<Markdown text={"<b onclick=x>hi</b>\n\n<div>\n**bold**\n</div>"} />);
  expect(container.textContent).toContain("<b onclick=x>hi</b>");
  expect(container.querySelector("b")).toBeNull();
  expect(container.querySelector("strong")?.textContent).toBe("bold");
});

const HUGE = ["[", "*", "_", "`", "$", "!", "<", "~", "*a_", "![", "a**b", "> ", "- ", "-\n", "$$\n", "\\[a\n"];

test.each(HUGE)("of 100,000 characters of %j nothing is lost", (part) => {
  const text = part.repeat(100_000 / part.length);
  const { blocks } = advance(EMPTY, text, false);
  expect(blocks.map((block) => block.raw).join("")).toBe(text);
});

test("ten thousand quotes in each other end as text", () => {
  const text = `${">".repeat(10_000)}a`;
  const { container } = render(<Markdown text={text} />);
  expect(container.querySelectorAll("blockquote").length).toBeLessThan(20);
  expect(container.textContent).toContain("a");
});

test("of many blocks, the last is the text that is left", () => {
  const text = "# a\n".repeat(30_000);
  const { blocks } = advance(EMPTY, text, false);
  expect(blocks).toHaveLength(MAX_BLOCKS);
  expect(blocks.map((block) => block.raw).join("")).toBe(text);
});
