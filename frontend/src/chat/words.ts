/** Amounts and moments in words. */

const DAY_MS = 86_400_000;

/** "12 s", "3 min 5 s" or "2 h 10 min". */
export function duration(seconds: number): string {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return joined(`${minutes} min`, Math.round(seconds % 60), "s");
  return joined(`${Math.floor(minutes / 60)} h`, minutes % 60, "min");
}

/** "today at 18:00", "tomorrow" or "Tuesday, 1 December". */
export function day(moment: number, now = Date.now()): string {
  const days = Math.round((midnight(moment) - midnight(now)) / DAY_MS);
  const date = new Date(moment);
  if (days === 0) {
    const options = { hour: "2-digit", minute: "2-digit" } as const;
    return `today at ${date.toLocaleTimeString(undefined, options)}`;
  }
  if (days === 1) return "tomorrow";
  const options = { weekday: "long", day: "numeric", month: "long" } as const;
  return date.toLocaleDateString(undefined, options);
}

/** An amount in US dollars; small amounts keep two significant digits. */
export function dollars(amount: string): string {
  const value = Number(amount);
  const small = value !== 0 && Math.abs(value) < 0.01;
  const digits = small
    ? { maximumSignificantDigits: 2 }
    : { minimumFractionDigits: 2, maximumFractionDigits: 2 };
  return value.toLocaleString("en", { style: "currency", currency: "USD", ...digits });
}

export function count(value: number, one: string, many = `${one}s`): string {
  return `${value.toLocaleString()} ${value === 1 ? one : many}`;
}

function joined(larger: string, smaller: number, unit: string): string {
  return smaller === 0 ? larger : `${larger} ${smaller} ${unit}`;
}

function midnight(moment: number): number {
  return new Date(moment).setHours(0, 0, 0, 0);
}
