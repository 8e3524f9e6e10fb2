/** A turning ring. Without a label it is for the eye only: the text beside it says why. */
export function Spinner({ label }: { label?: string }) {
  const named =
    label === undefined ? { "aria-hidden": true } : { role: "img", "aria-label": label };
  return <span className="spinner" {...named} />;
}
