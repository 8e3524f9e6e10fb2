/** Code with its language, a button that copies it, and colors once they are loaded. */

import { memo } from "react";

import { CopyButton } from "./CopyButton";
import { chunksOf, languageOf } from "./code";
import { HighlightedText } from "./HighlightedText";
import { useHighlighting } from "./useHighlighting";

interface CodeBlockProps {
  text: string;
  lang: string;
  /** Whether more of the code is to come. */
  open: boolean;
}

export const CodeBlock = memo(function CodeBlock({ text, lang, open }: CodeBlockProps) {
  const language = languageOf(lang);
  const coloured = useHighlighting(text, language, open);
  const rest = text.slice(coloured.length);
  return (
    <figure className="md-code" dir="ltr">
      <figcaption>
        <span className="md-language">{language || "text"}</span>
        <CopyButton text={text} />
      </figcaption>
      <pre role="group" aria-label={language ? `Code, ${language}` : "Code"} tabIndex={0}>
        <code>
          {coloured.chunks.map((html, index) => (
            <HighlightedText key={index} html={html} />
          ))}
          {chunksOf(rest).map((chunk, index) => (
            <PlainText key={index} text={chunk} />
          ))}
        </code>
      </pre>
    </figure>
  );
});

/** A few lines as one element, so that the browser lays out only those that change. */
const PlainText = memo(function PlainText({ text }: { text: string }) {
  return <span>{text}</span>;
});
