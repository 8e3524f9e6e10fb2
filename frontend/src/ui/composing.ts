/** Keys that belong to an input method. */

// Safari ends the composition before the Enter that confirms a word; only this code tells.
const OF_INPUT_METHOD = 229;

/** Returns whether a key is for the input method, such as to confirm or drop a word. */
export function isComposing(event: KeyboardEvent): boolean {
  return event.isComposing || event.keyCode === OF_INPUT_METHOD;
}

/** For `onEscapeKeyDown` of dialogs with text boxes: Escape drops a word, not the dialog. */
export function keepForInputMethod(event: KeyboardEvent): void {
  if (isComposing(event)) event.preventDefault();
}
