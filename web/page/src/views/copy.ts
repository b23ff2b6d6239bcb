import { icon, iconButton } from "../dom.ts";

const CONFIRMED_FOR = 1500;

/** A button that copies a text, and shows that it did. */
export function copyButton(label: string, text: () => string): HTMLButtonElement {
  const button = iconButton("copy", label, async () => {
    const done = await copy(text());
    button.replaceChildren(icon(done ? "check" : "warning"));
    button.title = done ? "Copied" : "The browser does not let this page copy";
    setTimeout(() => {
      button.replaceChildren(icon("copy"));
      button.title = label;
    }, CONFIRMED_FOR);
  });
  return button;
}

/** Copies a text. Returns whether it could. */
export async function copy(text: string): Promise<boolean> {
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
