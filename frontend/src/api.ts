/** Requests to the project's REST API, and its errors. */

/** A response with an error status: `{"error": text, "code": code}`. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

/** Where the server is: "" for where the page comes from. */
export let baseUrl = "";

/** Called once, before anything else, by a page of another origin than the server's. */
export function configure(settings: { baseUrl: string }): void {
  baseUrl = settings.baseUrl.replace(/\/+$/, "");
}

export interface RequestOptions {
  token?: string;
  body?: unknown;
  method?: string;
}

/** Sends a GET, or a POST if there is a body, or `method`. Rejects with ApiError. */
export async function request<T>(path: string, options: RequestOptions = {}): Promise<T> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (options.token !== undefined) headers["Authorization"] = `Bearer ${options.token}`;
  const init: RequestInit = { headers, credentials: "same-origin" };
  if (options.body !== undefined) {
    headers["Content-Type"] = "application/json";
    init.method = "POST";
    init.body = JSON.stringify(options.body);
  }
  if (options.method !== undefined) init.method = options.method;
  const response = await send(path, init);
  const answer: unknown = await response.json().catch(() => null);
  if (!response.ok) throw toError(response.status, answer);
  return answer as T;
}

async function send(path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(baseUrl + path, init);
  } catch {
    throw new ApiError(0, "unreachable", "The server cannot be reached.");
  }
}

function toError(status: number, answer: unknown): ApiError {
  const { error, code } = (answer ?? {}) as { error?: unknown; code?: unknown };
  return new ApiError(
    status,
    typeof code === "string" ? code : "unknown",
    typeof error === "string" ? error : `The server answered with status ${status}.`,
  );
}
