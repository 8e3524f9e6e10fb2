/** Collects tokens and passes them on once per frame: screens show no more than that. */

// A timer also passes them on, because frames stop while a page is hidden.
const LONGEST_WAIT_MS = 250;

/** `deliver` is called with the new text of each session that has some. */
export class Batch {
  #parts = new Map<string, string[]>();
  #frame = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #deliver: (texts: Map<string, string>) => void;

  constructor(deliver: (texts: Map<string, string>) => void) {
    this.#deliver = deliver;
  }

  add(sessionId: string, text: string): void {
    const parts = this.#parts.get(sessionId);
    if (parts === undefined) this.#parts.set(sessionId, [text]);
    else parts.push(text);
    if (this.#timer !== undefined) return;
    this.#frame = requestAnimationFrame(() => this.flush());
    this.#timer = setTimeout(() => this.flush(), LONGEST_WAIT_MS);
  }

  /** Drops text that has arrived in another way. */
  drop(sessionId: string): void {
    this.#parts.delete(sessionId);
  }

  /** Passes on all collected text; called before anything that must follow it. */
  flush(): void {
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#parts.size === 0) return;
    const texts = new Map<string, string>();
    for (const [sessionId, parts] of this.#parts) texts.set(sessionId, parts.join(""));
    this.#parts.clear();
    this.#deliver(texts);
  }
}
