/** A turning ring. Without a label it is only visual: the text next to it says why. */
export function Spinner({ label }: { label?: string }) {
  const named =
    label === undefined ? { "aria-hidden": true } : { role: "img", "aria-label": label };
  return <span className="spinner" {...named} />;
}
