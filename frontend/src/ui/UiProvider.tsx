import { Provider as TooltipProvider } from "@radix-ui/react-tooltip";
import type { ReactNode } from "react";

import { ToastProvider } from "./Toast";

/** What tooltips and messages need above them; once, around the page. */
export function UiProvider({ children }: { children: ReactNode }) {
  return (
    <TooltipProvider delayDuration={500} skipDelayDuration={200}>
      <ToastProvider>{children}</ToastProvider>
    </TooltipProvider>
  );
}
