/** Growing texts: what is shown in between, and what is not parsed again. */

import { render } from "@testing-library/react";
import { describe, expect, test } from "vitest";

import { advance, type Document, EMPTY } from "./blocks";
import Markdown from "./Markdown";

function shown(text: string, streaming = true): HTMLElement {
  return render(<Markdown text={text} streaming={streaming} />).container.firstElementChild as HTMLElement;
}

/** The document of a text that arrived in pieces of this many characters. */
function streamed(text: string, step: number): Document {
  let document = EMPTY;
  for (let end = step; end < text.length; end += step) {
    document = advance(document, text.slice(0, end), true);
  }
  return advance(document, text, true);
}

const ANSWER = `# A title

A paragraph with **bold** and a [link](https://example.org/).
Its second line
#hash is no heading.

- one
- two
  - three

1. first

   more of it
2. second

| a | b |
|---|--:|
| 1 | **2** |
| 3 | 4 |

> quoted
> \`\`\`js
> let x = 1;
> \`\`\`

$$
a = b
+ c
$$

\`\`\`python
def f():
    return "\`\`"
\`\`\`
Last words
===
`;

test.each([1, 2, 3, 7, 50])("a text in pieces of %i ends like one that came whole", (step) => {
  const pieces = advance(streamed(ANSWER, step), ANSWER, false);
  const whole = advance(EMPTY, ANSWER, false);

  expect(pieces.blocks.map((block) => block.raw)).toEqual(whole.blocks.map((block) => block.raw));
  expect(pieces.blocks.map((block) => block.tokens)).toEqual(
    whole.blocks.map((block) => block.tokens),
  );
});

test.each(["- a \t\n  b  \n\t\n- c\t\n\nend\n\nmore", "x\n\n1. ", "- a\n \n\n# t\n"])(
  "nothing of %j is lost or doubled",
  (text) => {
    const { blocks } = streamed(text, 1);
    expect(blocks.map((block) => block.raw).join("")).toBe(text);
  },
);

test("finished blocks keep their identity", () => {
  const half = advance(EMPTY, ANSWER.slice(0, 300), true);
  const more = advance(half, ANSWER.slice(0, 330), true);

  expect(half.finished).toBeGreaterThan(3);
  half.blocks.slice(0, half.finished).forEach((block, index) => {
    expect(more.blocks[index]).toBe(block);
  });
});

test("a link whose definition came later is a link in the end", () => {
  const text = "See [here][x].\n\nMore.\n\n[x]: https://example.org/a\n";
  const end = advance(streamed(text, 5), text, false);

  expect(JSON.stringify(end.blocks[0]?.tokens)).toContain("https://example.org/a");
});

test("a text that is replaced is read anew", () => {
  const before = advance(EMPTY, ANSWER, true);
  expect(advance(before, "other", true).blocks).toHaveLength(1);
});

test.each([
  ["one **two th", "one two th", "STRONG"],
  ["one **two*", "one two", "STRONG"],
  ["one *two", "one two", "EM"],
  ["one `two", "one two", "CODE"],
  ["one ~~two", "one two", "DEL"],
  ["- one **two", "one two", "STRONG"],
])("%j is shown as if it were closed", (text, words, tag) => {
  const element = shown(text);
  expect(element.textContent).toBe(words);
  expect(element.querySelector(tag)?.textContent).toContain("two");
});

test.each([
  ["text\n-", "text"],
  ["text\n#", "text"],
  ["text\n\n``", "text"],
  ["see [the docs](https://exam", "see the docs"],
  ["see ![a cat](https://exam", "see a cat"],
  ["2 * 3 and snake_case", "2 * 3 and snake_case"],
  ["costs $5 and $10", "costs $5 and $10"],
])("of %j is shown %j", (text, words) => {
  const element = shown(text);
  expect(element.textContent?.trim()).toBe(words);
  expect(element.querySelector("h3, a, img, em, strong")).toBeNull();
});

test("a table is one from its first row on", () => {
  for (const text of ["| a | b", "| a | b |\n", "| a | b |\n|--", "| a | b |\n|---|---|\n| 1"]) {
    expect(shown(text).querySelectorAll("th")).toHaveLength(2);
  }
});

describe("code that is being written", () => {
  test("has its language once that is whole", () => {
    expect(shown("```pyth").querySelector(".md-language")?.textContent).toBe("text");
    expect(shown("```python\nx").querySelector(".md-language")?.textContent).toBe("python");
  });

  test("does not show the beginning of its fence's end", () => {
    const code = shown("```\na\n``").querySelector("pre");
    expect(code?.textContent).toBe("a");
  });

  test("goes on without its beginning being read", () => {
    const start = "```py\n" + "x = 1\n".repeat(100);
    const before = advance(EMPTY, start, true);
    const after = advance(before, `${start}y = 2`, true);
    expect(after.growing).not.toBeNull();
    expect(after.blocks[0]?.tokens[0]).toMatchObject({ type: "code", lang: "py" });
    expect(advance(after, `${start}y = 2\n\`\`\`\nend\n`, true).blocks).toHaveLength(2);
  });
});

test("open math shows its source", () => {
  expect(shown("so\n\n$$\nx = 1\n+ y").querySelector(".md-tex")?.textContent).toBe("x = 1\n+ y");
});

test("a long list is read from a recent item on", () => {
  const list = Array.from({ length: 300 }, (_, n) => `${n + 1}. item ${n + 1}\n`).join("");
  const { finished, finishedLength, blocks } = streamed(list, 40);
  expect(finished).toBeGreaterThan(0);
  expect(list.length - finishedLength).toBeLessThan(2_500);
  expect(blocks.map((block) => block.raw).join("")).toBe(list);
  expect(shown(list).querySelectorAll("li")).toHaveLength(300);
});

test("rows of a table are read once", () => {
  const table = "| a | b |\n|---|--:|\n" + "| 1 | **2** |\n".repeat(200);
  const [block] = streamed(table, 33).blocks;
  const [whole] = advance(EMPTY, table, false).blocks;
  expect(JSON.stringify(block?.tokens[0])).toBe(JSON.stringify(whole?.tokens[0]));
});
