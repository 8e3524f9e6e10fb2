import { createRoot } from "react-dom/client";

import { App } from "./App";
import { ErrorBoundary } from "./ErrorBoundary";
import { configure } from "./llm";
import { basePath } from "./page";
import { UiProvider } from "./ui";
import "./styles/index.css";
import "./chat/chat.css";
import "./chat/composer.css";
import "./chat/empty.css";
import "./sidebar/sidebar.css";

configure({ baseUrl: basePath() });

const container = document.getElementById("llmchat");
if (container === null) throw new Error("The page has no element #llmchat.");
createRoot(container).render(
  <ErrorBoundary>
    <UiProvider>
      <App />
    </UiProvider>
  </ErrorBoundary>,
);
