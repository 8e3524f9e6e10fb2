/** Names whoever is logged in, before the server has told: by the access token. */
// Where session.ts stores it.
const ACCESS_KEY = "jwt_token";

/** "" if nobody is. */
export function ownerOfDrafts(): string {
  const part = localStorage.getItem(ACCESS_KEY)?.split(".")[1] ?? "";
  try {
    const claims: unknown = JSON.parse(atob(part.replaceAll("-", "+").replaceAll("_", "/")));
    return String((claims as { user_id?: unknown }).user_id ?? "");
  } catch {
    return "";
  }
}
