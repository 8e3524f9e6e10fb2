/** Keys that belong to an input method. */

// Safari ends the composition before the Enter that confirms a word, and says so by this alone.
const OF_INPUT_METHOD = 229;

/** Whether a key is for the input method, such as one that confirms or drops its word. */
export function isComposing(event: KeyboardEvent): boolean {
  return event.isComposing || event.keyCode === OF_INPUT_METHOD;
}

/** For `onEscapeKeyDown` of what holds text boxes: what is dropped is a word, not all. */
export function keepForInputMethod(event: KeyboardEvent): void {
  if (isComposing(event)) event.preventDefault();
}
