/** Hooks for time that passes on the screen. */
import { useEffect, useState } from "react";

const SECOND_MS = 1000;

/** Returns the time in milliseconds since the epoch, updated each second if `running`. */
export function useNow(running: boolean): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (!running) return;
    setNow(Date.now());
    const timer = window.setInterval(() => setNow(Date.now()), SECOND_MS);
    return () => window.clearInterval(timer);
  }, [running]);
  return now;
}

/** Returns the whole seconds until `moment`, 0 once it has passed. */
export function useCountdown(moment: number | undefined): number {
  const [over, setOver] = useState(false);
  const now = useNow(moment !== undefined && !over);
  const left = moment === undefined ? 0 : Math.max(0, Math.ceil((moment - now) / SECOND_MS));
  useEffect(() => setOver(left === 0), [left, moment]);
  return left;
}

/** Returns true once `value` has been true for `ms`, and false as soon as it is not. */
export function useLasting(value: boolean, ms: number): boolean {
  const [lasts, setLasts] = useState(false);
  useEffect(() => {
    if (!value) {
      setLasts(false);
      return;
    }
    const timer = window.setTimeout(() => setLasts(true), ms);
    return () => window.clearTimeout(timer);
  }, [value, ms]);
  return value && lasts;
}
