/**
 * Markdown, loaded when it is first shown. Until then, and where it cannot be loaded,
 * a text is shown as it is.
 */

import { lazy, Suspense } from "react";

import type { MarkdownProps } from "./Markdown";

export type { MarkdownProps } from "./Markdown";

let loading: Promise<{ default: (props: MarkdownProps) => React.ReactNode }> | null = null;

/** Begin to load it, before there is anything to show. */
export function preloadMarkdown(): Promise<unknown> {
  loading ??= import("./Markdown").catch(() => ({ default: PlainText }));
  return loading;
}

const Loaded = lazy(async () => {
  await preloadMarkdown();
  return loading as NonNullable<typeof loading>;
});

export function Markdown(props: MarkdownProps) {
  return (
    <Suspense fallback={<PlainText {...props} />}>
      <Loaded {...props} />
    </Suspense>
  );
}

function PlainText({ text }: MarkdownProps) {
  return (
    <div style={{ whiteSpace: "pre-wrap", overflowWrap: "anywhere" }} dir="auto">
      {text}
    </div>
  );
}
