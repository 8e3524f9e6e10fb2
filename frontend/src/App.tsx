import { AccountProvider } from "./account";
import { ChatView } from "./ChatView";

/** The way in, or the chat of the logged-in user. */
export function App() {
  return (
    <AccountProvider>
      <ChatView />
    </AccountProvider>
  );
}
