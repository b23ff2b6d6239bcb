import { icon, iconButton } from "../dom.ts";

const CONFIRMED_FOR = 1500;

/** A button that copies a text, and shows that it did. */
export function copyButton(label: string, text: () => string): HTMLButtonElement {
  const show = (name: string, words: string) => {
    button.replaceChildren(icon(name));
    button.title = words;
    button.setAttribute("aria-label", words);
  };
  const button = iconButton("copy", label, async () => {
    if (await copy(text())) show("check", "Copied");
    else show("warning", "The browser does not let this page copy");
    setTimeout(() => show("copy", label), CONFIRMED_FOR);
  });
  button.classList.add("copy");
  return button;
}

/** Copies a text. Returns whether it could. */
async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

/** The way for pages that came over plain HTTP from another machine: these have no clipboard. */
function copyBySelection(text: string): boolean {
  const focused = document.activeElement;
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (focused instanceof HTMLElement) focused.focus();
  return done;
}
