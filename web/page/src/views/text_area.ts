/** Without a pointer there is, most likely, a keyboard on the screen: it takes half of it, and has no Shift+Enter. */
export const HAS_KEYBOARD = matchMedia("(hover: hover)").matches;

/** Makes a text area as high as its text; the style sheet says how high at most. */
export function growWithText(area: HTMLTextAreaElement): void {
  const grow = () => {
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight}px`;
  };
  area.addEventListener("input", grow);
}

/** Whether a key sends the text: Enter alone, and not the one that ends the input of a Chinese or Japanese word. On the
 * keyboard of a screen it begins a new line. */
export function isSend(event: KeyboardEvent): boolean {
  return HAS_KEYBOARD && event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229;
}
