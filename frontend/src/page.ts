/** Values that the server has written into the page's `<meta>` elements. */

/** The path below which the server is, such as "/chat"; "" for the root. */
export function basePath(): string {
  return metaContent("llmchat-base");
}

export function mayRegister(): boolean {
  return metaContent("llmchat-registration") === "on";
}

function metaContent(name: string): string {
  return document.querySelector<HTMLMetaElement>(`meta[name="${name}"]`)?.content ?? "";
}
