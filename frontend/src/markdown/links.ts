import { decodeEntities } from "./entities";

const PROTOCOLS = new Set(["http:", "https:", "mailto:", "tel:"]);

/** Returns the address of a safe link, absolute and with a safe protocol, or null. */
export function safeHref(href: string): string | null {
  try {
    const url = new URL(decodeEntities(href));
    return PROTOCOLS.has(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}
