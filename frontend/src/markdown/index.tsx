/**
 * Markdown, loaded when it is first shown. Until then, and if it cannot be loaded or
 * rendered, the text is shown as it is.
 */

import { Component, lazy, type ReactNode, Suspense } from "react";

import type { MarkdownProps } from "./Markdown";

export type { MarkdownProps } from "./Markdown";

type Shown = (props: MarkdownProps) => ReactNode;

let loading: Promise<{ default: Shown }> | null = null;

/** Starts loading Markdown before there is anything to show. */
export function preloadMarkdown(): Promise<{ default: Shown }> {
  loading ??= import("./Markdown").catch(() => ({ default: PlainText }));
  return loading;
}

const Loaded = lazy(preloadMarkdown);

export function Markdown(props: MarkdownProps) {
  const plain = <PlainText {...props} />;
  return (
    <Boundary fallback={plain}>
      <Suspense fallback={plain}>
        <Loaded {...props} />
      </Suspense>
    </Boundary>
  );
}

function PlainText({ text }: MarkdownProps) {
  return (
    <div style={{ whiteSpace: "pre-wrap", overflowWrap: "anywhere" }} dir="auto">
      {text}
    </div>
  );
}

interface BoundaryProps {
  fallback: ReactNode;
  children: ReactNode;
}

/** Keeps an answer that cannot be rendered from breaking the whole page. */
class Boundary extends Component<BoundaryProps, { failed: boolean }> {
  override state = { failed: false };

  static getDerivedStateFromError() {
    return { failed: true };
  }

  override render(): ReactNode {
    return this.state.failed ? this.props.fallback : this.props.children;
  }
}
