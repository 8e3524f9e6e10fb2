/** Downloads a conversation: a link cannot send the token, so the page fetches it. */
import { authorizedFile } from "../llm";

export type Kind = "md" | "json";

/** Rejects with ApiError. */
export async function downloadConversation(id: string, kind: Kind): Promise<void> {
  const path = `/llm/conversations/${encodeURIComponent(id)}/export.${kind}`;
  const address = URL.createObjectURL(await authorizedFile(path));
  const link = document.createElement("a");
  link.href = address;
  link.download = `conversation-${id}.${kind}`;
  link.click();
  // The browser reads the address only after this task.
  setTimeout(() => URL.revokeObjectURL(address), 0);
}
