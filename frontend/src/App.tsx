import { useCallback, useEffect, useState } from "react";

import { ChatView } from "./ChatView";
import { LogIn } from "./LogIn";
import { isLoggedIn, logOut, onLoggedOutElsewhere } from "./llm";

/** The log-in form, or the chat of the logged-in user. */
export function App() {
  const [loggedIn, setLoggedIn] = useState(isLoggedIn);
  const showLogIn = useCallback(() => setLoggedIn(false), []);

  useEffect(() => onLoggedOutElsewhere(showLogIn), [showLogIn]);

  if (!loggedIn) return <LogIn onLoggedIn={() => setLoggedIn(true)} />;
  return (
    <ChatView
      onLoggedOut={showLogIn}
      onLogOut={() => {
        logOut();
        showLogIn();
      }}
    />
  );
}
