/** Why something does not work, and what a person can do about it, in the page's words. */

/** `{label}` is the provider's name. */
const REASONS: Record<string, string> = {
  key_not_configured: "{label} needs an API key on this server.",
  address_not_configured: "The address of {label} has not been set on this server.",
  price_not_configured: "{label} has no price yet, so it cannot be used with a budget in dollars.",
  local_model_missing: "The built-in model is not installed on this server.",
  provider_auth: "{label} rejected the server’s API key.",
  provider_quota: "The server’s {label} account has run out of credit.",
  provider_rate_limited: "{label} is limiting this server’s requests right now.",
  provider_unavailable: "{label} cannot be reached right now.",
  provider_timeout: "{label} took too long to answer.",
  provider_error: "{label} stopped in the middle of the answer.",
  provider_error_at_once: "{label} reported an error.",
  provider_not_found: "This provider is no longer available.",
  model_not_found: "{label} no longer offers this model.",
  permission_denied: "Your account may not use this model.",
  content_filtered: "{label} blocked this answer with its content filter.",
  empty_answer: "{label} returned an empty answer.",
  context_too_long: "This conversation has become too long for the model.",
  rate_limited: "You are sending messages too quickly.",
  too_many_streams: "You have too many answers in progress.",
  too_many_sockets: "This chat is open in too many places at once.",
  budget_exceeded: "Your budget is used up.",
  draining: "The server was restarted before this answer was complete.",
  interrupted: "The server stopped in the middle of this answer.",
  connection_lost: "The connection was lost before the server received your question.",
  server_busy: "The server is busy.",
  database_unavailable: "The server cannot store anything right now.",
  internal_error: "Something went wrong on the server.",
  conversation_not_found: "This conversation does not exist, or it has been deleted.",
  conversation_active: "An answer in this conversation is still being written.",
  message_not_found: "This conversation was changed in another tab or on another device.",
  payload_too_large: "This conversation is now too long for the server.",
  unreachable: "The server cannot be reached.",
};

const HINTS: Record<string, string> = {
  key_not_configured: "Choose another model, or contact your administrator.",
  address_not_configured: "Choose another model, or contact your administrator.",
  price_not_configured: "Choose another model, or contact your administrator.",
  provider_auth: "Choose another model, or contact your administrator.",
  provider_quota: "Choose another model, or contact your administrator.",
  model_not_found: "Choose another model.",
  provider_not_found: "Choose another model.",
  permission_denied: "Choose another model.",
  context_too_long: "Start a new chat, or edit an earlier question.",
  too_many_streams: "Wait for one to finish, or stop it.",
  conversation_not_found: "Try again to continue in a new conversation.",
  conversation_active: "Wait for the answer, or stop it.",
  payload_too_large: "Start a new chat, or edit an earlier question.",
  message_not_found: "Try again to ask this in the current version of the conversation.",
  content_filtered: "Rephrase your question, or choose another model.",
};

/** Problems that an administrator can fix in the admin's list of providers. */
const FOR_STAFF = new Set([
  "key_not_configured",
  "address_not_configured",
  "price_not_configured",
  "provider_auth",
  "provider_quota",
]);

/** Returns a sentence; the server's `text` is used for codes that have no other. */
export function reason(code: string, text: string, label: string): string {
  const known = REASONS[code];
  return known === undefined ? sentence(text) : known.replace("{label}", label);
}

export function hint(code: string): string | null {
  return HINTS[code] ?? null;
}

export function isForStaff(code: string): boolean {
  return FOR_STAFF.has(code);
}

function sentence(text: string): string {
  return /[.!?…]$/.test(text) ? text : `${text}.`;
}
