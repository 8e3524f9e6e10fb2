/**
 * Chats with streamed answers, for any React page. The folder needs `react` and
 * `socket.io-client`, and nothing else of this project: copy it.
 */
export { ApiError, configure, request } from "./api";
export { type ClientOptions, LLMClient } from "./client";
export {
  LLMProvider,
  useActivity,
  useBudgetNotice,
  useChat,
  useClient,
  useConnection,
} from "./context";
export * from "./conversations";
export { historyOf, isUnread, untakenQuestion } from "./turns";
export {
  accessToken,
  authorized,
  authorizedFile,
  isLoggedIn,
  logIn,
  logOut,
  onLoggedOutElsewhere,
} from "./session";
export * from "./types";
export { type LLMStream, type LLMStreamOptions, useLLMStream } from "./useLLMStream";
