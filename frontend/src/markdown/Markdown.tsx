/** A text in Markdown, which may still grow. Nothing in it is used as HTML or fetched. */

import { memo } from "react";

import "./markdown.css";
import { BlockTokens } from "./BlockTokens";
import type { Block } from "./blocks";
import { useDocument } from "./useDocument";

export interface MarkdownProps {
  text: string;
  /** Whether more of the text is to come. */
  streaming?: boolean;
}

export default function Markdown({ text, streaming = false }: MarkdownProps) {
  const { blocks } = useDocument(text, streaming);
  return (
    <div className="md" dir="auto">
      {blocks.map((block, index) => (
        <OneBlock key={index} block={block} open={streaming && index === blocks.length - 1} />
      ))}
    </div>
  );
}

interface OneBlockProps {
  block: Block;
  open: boolean;
}

/** Finished blocks keep their identity, so React skips them. */
const OneBlock = memo(function OneBlock({ block, open }: OneBlockProps) {
  if (!block.continues) return <BlockTokens tokens={block.tokens} open={open} />;
  return (
    <div className="md-continued">
      <BlockTokens tokens={block.tokens} open={open} />
    </div>
  );
});
