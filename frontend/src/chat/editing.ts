/** Requests from the keyboard to edit the last question, which listens to them. */
const TARGET = new EventTarget();
const WISH = "edit";

export function editLastQuestion(): void {
  TARGET.dispatchEvent(new Event(WISH));
}

/** Calls back for each request. Returns the function that ends that. */
export function onEditQuestion(listener: () => void): () => void {
  TARGET.addEventListener(WISH, listener);
  return () => TARGET.removeEventListener(WISH, listener);
}
