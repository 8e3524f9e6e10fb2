/** Marks conversations that are being answered, or that have a new, unseen answer. */
import { useEffect, useMemo, useRef, useState } from "react";

import type { Activity } from "../llm";

export type Mark = "running" | "unseen";

/** `shown` is the conversation that the reader sees. */
export function useMarks(
  activity: readonly Activity[],
  shown: string | null,
): ReadonlyMap<string, Mark> {
  const seenAt = useRef(new Map<string, number>());
  const isVisible = useVisible();

  return useMemo(() => {
    const marks = new Map<string, Mark>();
    for (const { conversationId, running, endedAt } of activity) {
      const seen = conversationId === shown && isVisible;
      if (seen && endedAt !== null) seenAt.current.set(conversationId, endedAt);
      if (running) marks.set(conversationId, "running");
      else if (endedAt !== null && endedAt > (seenAt.current.get(conversationId) ?? 0)) {
        marks.set(conversationId, "unseen");
      }
    }
    return marks;
  }, [activity, shown, isVisible]);
}

/** Returns false while the tab is hidden behind another one. */
function useVisible(): boolean {
  const [visible, setVisible] = useState(() => document.visibilityState === "visible");
  useEffect(() => {
    const onChange = () => setVisible(document.visibilityState === "visible");
    document.addEventListener("visibilitychange", onChange);
    return () => document.removeEventListener("visibilitychange", onChange);
  }, []);
  return visible;
}
