/** The wish to edit the last question, from the keyboard: heard by that question. */
const TARGET = new EventTarget();
const WISH = "edit";

export function editLastQuestion(): void {
  TARGET.dispatchEvent(new Event(WISH));
}

/** Returns the function that stops it. */
export function onEditQuestion(listener: () => void): () => void {
  TARGET.addEventListener(WISH, listener);
  return () => TARGET.removeEventListener(WISH, listener);
}
