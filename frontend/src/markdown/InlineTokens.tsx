/** The contents of a line as elements: emphasis, code, links, math. */

import type { Token, Tokens } from "marked";
import type { ReactNode } from "react";

import { decodeEntities } from "./entities";
import { Formula } from "./Formula";
import { safeHref } from "./links";
import type { MathToken } from "./math";

export function InlineTokens({ tokens }: { tokens: Token[] | undefined }): ReactNode {
  return tokens?.map((token, index) => <InlineToken key={index} token={token} />);
}

function InlineToken({ token }: { token: Token }): ReactNode {
  switch (token.type) {
    case "text":
      if (token.tokens) return <InlineTokens tokens={token.tokens} />;
      return decodeEntities(token.text);
    case "strong":
      return <strong>{inside(token)}</strong>;
    case "em":
      return <em>{inside(token)}</em>;
    case "del":
      return <del>{inside(token)}</del>;
    case "br":
      return <br />;
    case "codespan":
      return <code dir="ltr">{token.text}</code>;
    case "link":
      return <Link href={token.href}>{inside(token)}</Link>;
    case "image":
      return <Image image={token as Tokens.Image} />;
    case "math":
      return <Formula math={token as MathToken} />;
    case "escape":
      return token.text;
    case "paragraph":
      return inside(token);
    default:
      return token.raw;
  }
}

function inside(token: Token): ReactNode {
  return "tokens" in token ? <InlineTokens tokens={token.tokens} /> : null;
}

function Link({ href, children }: { href: string; children: ReactNode }) {
  const target = safeHref(href);
  if (target === null) return children;
  return (
    <a href={target} target="_blank" rel="noopener noreferrer nofollow">
      {children}
    </a>
  );
}

/** A link: loading the image would reveal to its server who reads the answer and when. */
function Image({ image }: { image: Tokens.Image }) {
  const text = decodeEntities(image.text) || "Image";
  return (
    <span className="md-image">
      <Link href={image.href}>{text}</Link>
    </span>
  );
}
