/** Requests to the project's REST API, and its errors. */

/** A response with an error status: `{"error": text, "code": code}`. */
export class ApiError extends Error {
  /** The HTTP status, or 0 where there was no response. */
  readonly status: number;
  readonly code: string;
  /** Seconds until another try makes sense, where the server tells. */
  readonly retryAfter: number | undefined;

  constructor(status: number, code: string, message: string, retryAfter?: number) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** Where the server is: "" for where the page comes from, or an address, or a path. */
export let baseUrl = "";

/**
 * Called once, before anything else, by a page of another origin than the server's, or
 * where the server is below a path, such as "/chat".
 */
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
  if (!response.ok) throw toError(response, answer);
  return answer as T;
}

async function send(path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(baseUrl + path, init);
  } catch {
    throw new ApiError(0, "unreachable", "The server cannot be reached.");
  }
}

function toError(response: Response, answer: unknown): ApiError {
  const { error, code, retryAfter } = (answer ?? {}) as Record<string, unknown>;
  const wait = Number(retryAfter ?? response.headers.get("Retry-After") ?? NaN);
  return new ApiError(
    response.status,
    typeof code === "string" ? code : "unknown",
    typeof error === "string"
      ? error
      : `The server answered with status ${response.status}.`,
    Number.isFinite(wait) ? wait : undefined,
  );
}
