import { Download, Trash2 } from "lucide-react";
import { useState } from "react";

import { isTokenError } from "../llm/session";
import { Button, FormProblem } from "../ui";
import { useAccount } from "./context";
import { DeleteAccount } from "./DeleteAccount";
import { errorsOf } from "./formErrors";
import { fetchExport } from "./server";

export function YourData({ onDeleted }: { onDeleted: (notice: string) => void }) {
  const [asks, setAsks] = useState(false);
  return (
    <>
      <DownloadEverything />
      <section className="danger-zone">
        <h4>Delete your account</h4>
        <p className="hint">
          This cannot be undone. It also deletes all conversations, API keys and usage data.
        </p>
        <Button kind="danger" onClick={() => setAsks(true)}>
          <Trash2 aria-hidden size={18} strokeWidth={1.75} />
          Delete my account…
        </Button>
      </section>
      <DeleteAccount open={asks} onClose={() => setAsks(false)} onDeleted={onDeleted} />
    </>
  );
}

function DownloadEverything() {
  const { endSession } = useAccount();
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | undefined>();

  async function download(): Promise<void> {
    setBusy(true);
    setProblem(undefined);
    try {
      saveAs("llmchat-export.json", await fetchExport());
    } catch (error) {
      if (isTokenError(error)) endSession();
      setProblem(errorsOf(error, [])[""]);
    }
    setBusy(false);
  }

  return (
    <section>
      <h4>Everything stored about you</h4>
      <p className="hint">
        Your account, usage, API keys (without the keys themselves) and conversations, as
        one JSON file.
      </p>
      <FormProblem>{problem}</FormProblem>
      <Button busy={busy} onClick={() => void download()}>
        {!busy && <Download aria-hidden size={18} strokeWidth={1.75} />}
        Download my data
      </Button>
    </section>
  );
}

function saveAs(name: string, content: Blob): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  // The browser reads the address only after this task.
  setTimeout(() => URL.revokeObjectURL(link.href), 0);
}
