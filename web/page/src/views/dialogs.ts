import { byId, element } from "../dom.ts";

/** Opens a dialog of index.html. Returns the value of the button that closed it; "" for Escape. */
export function open(dialog: HTMLDialogElement): Promise<string> {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true }));
}

/** Makes a dialog close by its button to cancel, and by a click beside it. */
export function canBeCancelled(dialog: HTMLDialogElement): void {
  dialog.addEventListener("click", (event) => {
    const { target } = event;
    if (target === dialog || (target instanceof Element && target.closest(".cancel"))) dialog.close();
  });
}

/** Asks for a line of text. Returns null where the user wants none. */
export async function askText(id: "rename" | "key", before: string): Promise<string | null> {
  const dialog = byId(`${id}-dialog`, HTMLDialogElement);
  const input = byId(`${id}-input`, HTMLInputElement);
  if (dialog.open) return null;
  input.value = before;
  return (await open(dialog)) === "ok" ? input.value.trim() : null;
}

export async function confirmDelete(title: string): Promise<boolean> {
  byId("delete-title", HTMLElement).textContent = title;
  return (await open(byId("delete-dialog", HTMLDialogElement))) === "ok";
}

export interface Shortcut {
  keys: string;
  does: string;
}

export function showShortcuts(shortcuts: Shortcut[]): void {
  const dialog = byId("help-dialog", HTMLDialogElement);
  if (dialog.open) return;
  const entries = shortcuts.flatMap(({ keys, does }) => [element("dt", {}, ...keysOf(keys)), element("dd", {}, does)]);
  byId("shortcuts", HTMLElement).replaceChildren(...entries);
  void open(dialog);
}

function keysOf(keys: string): Node[] {
  return keys.split(" ").map((key) => element("kbd", {}, key));
}
