import { decodeEntities } from "./entities";

const PROTOCOLS = new Set(["http:", "https:", "mailto:", "tel:"]);

/** The address of a link that may be followed: whole, and of a protocol that runs nothing. */
export function safeHref(href: string): string | null {
  try {
    const url = new URL(decodeEntities(href));
    return PROTOCOLS.has(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}
