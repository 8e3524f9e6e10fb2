import { useSyncExternalStore } from "react";

/** Returns whether the screen or the device currently matches a media query. */
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

/** Returns whether the pointer is a finger; then Enter begins a new line. */
export function useTouch(): boolean {
  return useMedia("(pointer: coarse)");
}
