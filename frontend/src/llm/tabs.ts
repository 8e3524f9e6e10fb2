/** What is asked in one tab of a browser is shown at once in the others. */

// The tokens that tabs share are one user's; whoever logs out leaves the page.
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
