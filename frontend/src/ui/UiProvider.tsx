import { Provider as TooltipProvider } from "@radix-ui/react-tooltip";
import type { ReactNode } from "react";

import { useTheme } from "./theme";
import { ToastProvider } from "./Toast";

/** Provides what tooltips, messages and the theme need; used once, around the page. */
export function UiProvider({ children }: { children: ReactNode }) {
  useTheme(); // follows a choice in another tab
  return (
    <TooltipProvider delayDuration={500} skipDelayDuration={200}>
      <ToastProvider>{children}</ToastProvider>
    </TooltipProvider>
  );
}
