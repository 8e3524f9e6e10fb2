const ENTITY = /&(?:#\d{1,7}|#x[\da-f]{1,6}|[a-z][a-z\d]{1,31});/gi;
const known = new Map<string, string>();

/** Replaces `&amp;` and the like with the characters that they stand for. */
export function decodeEntities(text: string): string {
  return text.includes("&") ? text.replace(ENTITY, decode) : text;
}

/** Lets the browser decode it: it knows all, and gets a single reference, never a tag. */
function decode(entity: string): string {
  let text = known.get(entity);
  if (text === undefined) {
    const page = new DOMParser().parseFromString(entity, "text/html");
    text = page.body.textContent || entity;
    known.set(entity, text);
  }
  return text;
}
