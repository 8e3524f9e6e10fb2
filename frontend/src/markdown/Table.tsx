import type { Tokens } from "marked";
import { memo } from "react";

import { InlineTokens } from "./InlineTokens";

/** A table, which scrolls in its own frame if it is wider than the page. */
export function Table({ table }: { table: Tokens.Table }) {
  return (
    <div className="md-table" role="group" aria-label="Table" tabIndex={0}>
      <table dir="auto">
        <thead>
          <Row cells={table.header} />
        </thead>
        <tbody>
          {table.rows.map((cells, index) => (
            <Row key={index} cells={cells} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

const Row = memo(
  function Row({ cells }: { cells: Tokens.TableCell[] }) {
    return (
      <tr>
        {cells.map((cell, index) => (
          <Cell key={index} cell={cell} />
        ))}
      </tr>
    );
  },
  // Text in brackets may have become a link because of a definition further down.
  (before, after) => {
    if (before.cells === after.cells) return true;
    const text = textOf(after.cells);
    return textOf(before.cells) === text && !text.includes("[");
  },
);

function textOf(cells: Tokens.TableCell[]): string {
  return cells.map((cell) => `${cell.align}${cell.text}`).join("\n");
}

function Cell({ cell }: { cell: Tokens.TableCell }) {
  const Tag = cell.header ? "th" : "td";
  return (
    <Tag
      className={cell.align ? `md-${cell.align}` : undefined}
      scope={cell.header ? "col" : undefined}
      dir="auto"
    >
      <InlineTokens tokens={cell.tokens} />
    </Tag>
  );
}
