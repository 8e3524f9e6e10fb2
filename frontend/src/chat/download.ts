/** Downloads a conversation: a link cannot send the token, so the page fetches it. */
import { accessToken, ApiError } from "../llm";
import { baseUrl } from "../llm/api";

export type Kind = "md" | "json";

/** Rejects with ApiError. */
export async function downloadConversation(id: string, kind: Kind): Promise<void> {
  const response = await fetchExport(id, kind);
  const address = URL.createObjectURL(await response.blob());
  const link = document.createElement("a");
  link.href = address;
  link.download = `conversation-${id}.${kind}`;
  link.click();
  // The browser reads it behind this task.
  setTimeout(() => URL.revokeObjectURL(address), 0);
}

async function fetchExport(id: string, kind: Kind): Promise<Response> {
  const path = `${baseUrl}/llm/conversations/${encodeURIComponent(id)}/export.${kind}`;
  const headers = { Authorization: `Bearer ${await accessToken()}` };
  const response = await fetch(path, { headers }).catch(() => null);
  if (response?.ok) return response;
  throw new ApiError(response?.status ?? 0, "download", "The download failed.");
}
