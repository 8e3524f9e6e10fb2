/** Blocks as elements: paragraphs, headings, lists, quotes, tables, code. */

import type { Token, Tokens } from "marked";
import { memo, type ReactNode } from "react";

import { CodeBlock } from "./CodeBlock";
import { InlineTokens } from "./InlineTokens";
import { Formula } from "./Formula";
import type { MathToken } from "./math";
import { Table } from "./Table";

interface TokensProps {
  tokens: Token[];
  /** Whether the last token may still grow. */
  open?: boolean;
}

export function BlockTokens({ tokens, open = false }: TokensProps): ReactNode {
  return tokens.map((token, index) => (
    <BlockToken key={index} token={token} open={open && index === tokens.length - 1} />
  ));
}

interface TokenProps {
  token: Token;
  open: boolean;
}

function BlockToken({ token, open }: TokenProps): ReactNode {
  switch (token.type) {
    case "space":
    case "def":
      return null;
    case "paragraph":
      return (
        <p dir="auto">
          <InlineTokens tokens={token.tokens} />
        </p>
      );
    case "heading":
      return <Heading heading={token as Tokens.Heading} />;
    case "hr":
      return <hr />;
    case "code":
      return <CodeBlock text={token.text} lang={token.lang ?? ""} open={open} />;
    case "math":
      return <Formula math={token as MathToken} />;
    case "table":
      return <Table table={token as Tokens.Table} />;
    case "blockquote":
      return (
        <blockquote dir="auto">
          <BlockTokens tokens={token.tokens ?? []} open={open} />
        </blockquote>
      );
    case "list":
      return <List list={token as Tokens.List} open={open} />;
    case "plain":
      return <div className="md-plain" dir="auto">{token.text}</div>;
    default:
      return <InlineTokens tokens={[token]} />;
  }
}

/** The page itself has the first two levels of headings; an answer's begin below them. */
function Heading({ heading }: { heading: Tokens.Heading }) {
  const Tag = `h${Math.min(6, heading.depth + 2)}` as "h3";
  return (
    <Tag className={`md-h${heading.depth}`} dir="auto">
      <InlineTokens tokens={heading.tokens} />
    </Tag>
  );
}

function List({ list, open }: { list: Tokens.List; open: boolean }) {
  const items = list.items.map((item, index) => (
    <Item key={index} item={item} open={open && index === list.items.length - 1} />
  ));
  if (!list.ordered) return <ul dir="auto">{items}</ul>;
  return (
    <ol start={Number(list.start || 0)} dir="auto">
      {items}
    </ol>
  );
}

interface ItemProps {
  item: Tokens.ListItem;
  open: boolean;
}

const Item = memo(
  function Item({ item, open }: ItemProps) {
    return (
      <li className={item.task ? "md-task" : undefined} dir="auto">
        {item.task && <TaskBox checked={item.checked === true} />}
        <BlockTokens tokens={item.tokens.filter(isNoBox)} open={open} />
      </li>
    );
  },
  (before, after) => before.open === after.open && isSame(before.item, after.item),
);

/** Text in brackets may have become a link because of a definition further down. */
function isSame(before: Tokens.ListItem, after: Tokens.ListItem): boolean {
  if (before === after) return true;
  return before.raw === after.raw && before.loose === after.loose && !after.raw.includes("[");
}

function isNoBox(token: Token): boolean {
  return token.type !== "checkbox";
}

function TaskBox({ checked }: { checked: boolean }) {
  const label = checked ? "Done" : "To do";
  return (
    <span className="md-box" role="img" aria-label={label} data-checked={checked || undefined} />
  );
}
