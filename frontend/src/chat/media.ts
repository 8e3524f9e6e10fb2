import { useSyncExternalStore } from "react";

/** Whether the screen or the device fits a media query now. */
export function useMedia(query: string): boolean {
  return useSyncExternalStore(
    (listener) => {
      const media = window.matchMedia(query);
      media.addEventListener("change", listener);
      return () => media.removeEventListener("change", listener);
    },
    () => window.matchMedia(query).matches,
  );
}

/** A finger instead of a mouse: Enter begins a new line. */
export function useTouch(): boolean {
  return useMedia("(pointer: coarse)");
}
