interface Example {
  kind: string;
  prompt: string;
}

const EXAMPLES: Example[] = [
  { kind: "Explain", prompt: "Why is the sky blue, but red in the evening?" },
  { kind: "Write", prompt: "A friendly reminder to pay an invoice that is a week late" },
  { kind: "Plan", prompt: "A long weekend in Lisbon, on foot, without museums" },
  { kind: "Check", prompt: "Find the bug: for i in range(1, len(items)): print(items[i])" },
];

/** What a new chat shows: a table of contents of what could be asked. */
export function EmptyState({ onPick }: { onPick: (prompt: string) => void }) {
  return (
    <div className="empty">
      <div className="empty-page">
        <p className="empty-lead">What would you like to know?</p>
        <ul className="contents" aria-label="Examples">
          {EXAMPLES.map(({ kind, prompt }) => (
            <li key={kind}>
              <button type="button" onClick={() => onPick(`${prefix(kind)}${prompt}`)}>
                <span className="contents-prompt">{prompt}</span>
                <span className="contents-dots" aria-hidden />
                <span className="contents-kind">{kind}</span>
              </button>
            </li>
          ))}
        </ul>
      </div>
    </div>
  );
}

/** Questions can be sent as they are; other examples need a verb. */
function prefix(kind: string): string {
  if (kind === "Write") return "Write: ";
  return kind === "Plan" ? "Plan for me: " : "";
}
