import { useEffect, useSyncExternalStore } from "react";

/**
 * Makes a hook that loads something big when it is first wanted, once for all components.
 *
 * It returns null until that is loaded, or if loading fails; the next component tries again.
 */
export function onDemand<T>(load: () => Promise<T>): (wanted: boolean) => T | null {
  let loaded: T | null = null;
  let loading = false;
  const listeners = new Set<() => void>();

  async function start(): Promise<void> {
    if (loaded !== null || loading) return;
    loading = true;
    loaded = await load().catch(() => null);
    loading = false;
    listeners.forEach((listener) => listener());
  }

  function subscribe(listener: () => void): () => void {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  return function useLoaded(wanted) {
    useEffect(() => {
      if (wanted) void start();
    }, [wanted]);
    return useSyncExternalStore(subscribe, () => (wanted ? loaded : null));
  };
}
