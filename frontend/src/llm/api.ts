/** Requests to the project's REST API, and its errors. */

/** A response with an error status: `{"error": text, "code": code}`. */
export class ApiError extends Error {
  /** The HTTP status, or 0 if there was no response. */
  readonly status: number;
  readonly code: string;
  /** Seconds until another try makes sense, if the server says so. */
  readonly retryAfter: number | undefined;

  constructor(status: number, code: string, message: string, retryAfter?: number) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** The server's address or path; "" for the address that the page was loaded from. */
export let baseUrl = "";

/**
 * Sets the server's address. Call it once, before anything else, if the page has another
 * origin than the server, or if the server is below a path, such as "/chat".
 */
export function configure(settings: { baseUrl: string }): void {
  baseUrl = settings.baseUrl.replace(/\/+$/, "");
}

export interface RequestOptions {
  token?: string;
  body?: unknown;
  method?: string;
  /** Whether the request continues after its page is closed. */
  keepalive?: boolean;
  /** The request is given up if nothing arrives for this long; half a minute by default. */
  silenceMs?: number;
}

const SILENCE_MS = 30_000;
// A timer that fires later than this was stopped: the device slept, or the page was frozen.
const LATE_MS = 5_000;

/** Sends a GET, or a POST if there is a body, or `method`. Rejects with ApiError. */
export async function request<T>(path: string, options: RequestOptions = {}): Promise<T> {
  const { response, content } = await exchange(path, initOf(options), options.silenceMs);
  const answer = parsed(await content.text());
  if (!response.ok) throw toError(response, answer);
  // Something in between has answered, such as the log-in page of a network.
  if (answer === null && response.status !== 204) throw unreachable();
  return answer as T;
}

/** Reads a file of any length, such as an export. Rejects with ApiError. */
export async function requestFile(path: string, token: string): Promise<Blob> {
  const headers = { Authorization: `Bearer ${token}` };
  const { response, content } = await exchange(path, { headers });
  if (!response.ok) throw toError(response, parsed(await content.text()));
  if (content.type.startsWith("text/html")) throw unreachable();
  return content;
}

function initOf({ token, body, method, keepalive }: RequestOptions): RequestInit {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (token !== undefined) headers["Authorization"] = `Bearer ${token}`;
  const init: RequestInit = { headers, credentials: "same-origin" };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    init.method = "POST";
    init.body = JSON.stringify(body);
  }
  if (method !== undefined) init.method = method;
  if (keepalive !== undefined) init.keepalive = keepalive;
  return init;
}

/** Waits for the complete response, as long as parts of it arrive in time. */
async function exchange(path: string, init: RequestInit, silenceMs = SILENCE_MS) {
  const silence = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const goOn = () => {
    const end = Date.now() + silenceMs;
    clearTimeout(timer);
    timer = setTimeout(() => {
      // The response may have arrived while the page slept, such as tokens sent only once.
      if (Date.now() > end + LATE_MS) goOn();
      else silence.abort();
    }, silenceMs);
  };
  goOn();
  try {
    const response = await fetch(baseUrl + path, { ...init, signal: silence.signal });
    goOn();
    return { response, content: await contentOf(response, goOn) };
  } catch {
    throw unreachable();
  } finally {
    clearTimeout(timer);
  }
}

/** Reads the body; `onPart` is called for each part that arrives. */
async function contentOf(response: Response, onPart: () => void): Promise<Blob> {
  const reader = response.body?.getReader();
  if (reader === undefined) return response.blob(); // no body, or no stream of it
  const parts: BlobPart[] = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    onPart();
  }
  return new Blob(parts, { type: response.headers.get("Content-Type") ?? "" });
}

/** Parses an object in JSON; returns null for anything else. */
function parsed(text: string): object | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}

/** The error if nothing has answered, or something other than the server. */
export function unreachable(): ApiError {
  return new ApiError(0, "unreachable", "The server cannot be reached.");
}

function toError(response: Response, answer: object | null): ApiError {
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
