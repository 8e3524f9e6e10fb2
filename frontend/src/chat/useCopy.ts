import { useCallback, useEffect, useRef, useState } from "react";

import { copyText } from "../markdown/clipboard";

const SHOWN_MS = 2000;

/** Copies a text; the first value is true for a moment after copying has worked. */
export function useCopy(): [boolean, (text: string) => void] {
  const [copied, setCopied] = useState(false);
  const timer = useRef(0);
  useEffect(() => () => window.clearTimeout(timer.current), []);
  const copy = useCallback((text: string) => {
    void copyText(text).then((hasWorked) => {
      if (!hasWorked) return; // the browser does not allow it
      setCopied(true);
      window.clearTimeout(timer.current);
      timer.current = window.setTimeout(() => setCopied(false), SHOWN_MS);
    });
  }, []);
  return [copied, copy];
}
