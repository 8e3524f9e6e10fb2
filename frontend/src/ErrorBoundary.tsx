import { Component, type ReactNode } from "react";

import { Button } from "./ui";

interface ErrorBoundaryProps {
  children: ReactNode;
}

/** Offers to reload after a fault of the page itself, which would leave it empty. */
export class ErrorBoundary extends Component<ErrorBoundaryProps, { failed: boolean }> {
  override state = { failed: false };

  static getDerivedStateFromError() {
    return { failed: true };
  }

  override render() {
    return this.state.failed ? <Failed /> : this.props.children;
  }
}

function Failed() {
  return (
    <main className="entrance">
      <h1 className="visually-hidden">llmchat</h1>
      <p role="alert">Something went wrong on this page. What you have typed is kept.</p>
      <Button kind="primary" autoFocus onClick={() => window.location.reload()}>
        Reload the page
      </Button>
    </main>
  );
}
