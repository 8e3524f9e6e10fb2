/** Lets the other tabs of a browser immediately show what is asked in one of them. */

// One channel suffices: tabs share the tokens of one user, and a log-out ends all pages.
const CHANNEL = "llmchat-answers";

export class Tabs {
  readonly #onBegun: (conversationId: string) => void;
  #channel: BroadcastChannel | undefined;

  /** `onBegun` is called when the server has taken a question of another tab. */
  constructor(onBegun: (conversationId: string) => void) {
    this.#onBegun = onBegun;
  }

  open(): void {
    if (this.#channel !== undefined || typeof BroadcastChannel === "undefined") return;
    this.#channel = new BroadcastChannel(CHANNEL);
    this.#channel.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (typeof data === "string") this.#onBegun(data);
    };
  }

  close(): void {
    this.#channel?.close();
    this.#channel = undefined;
  }

  /** Tells the other tabs that an answer was begun here. */
  tell(conversationId: string): void {
    this.#channel?.postMessage(conversationId);
  }
}
