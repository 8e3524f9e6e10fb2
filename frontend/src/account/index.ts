/** The user of the page: logging in and out, the settings, the account's menu. */
export { AccountMenu } from "./AccountMenu";
export { AccountProvider } from "./AccountProvider";
export { type AccountApi, type SettingsSection, useAccount } from "./context";
export { INSTRUCTIONS_LIMIT, useInstructions } from "./instructions";
export type { User } from "./server";
