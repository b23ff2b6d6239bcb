import { type Shortcut, showShortcuts } from "./views/dialogs.ts";

export interface KeyActions {
  startNew(): void;
  before(): void;
  after(): void;
  regenerate(): void;
  copyAnswer(): void;
  chooseModel(): void;
  openSettings(): void;
  stop(): void;
}

interface Key extends Shortcut {
  /** The key's place on the keyboard: with Alt, some keyboards write other characters. */
  code: string;
  act: keyof KeyActions;
}

const WITH_ALT: Key[] = [
  { keys: "Alt N", does: "begin a new conversation", code: "KeyN", act: "startNew" },
  { keys: "Alt ↑", does: "show the conversation above in the list", code: "ArrowUp", act: "before" },
  { keys: "Alt ↓", does: "show the conversation below in the list", code: "ArrowDown", act: "after" },
  { keys: "Alt R", does: "ask for another answer", code: "KeyR", act: "regenerate" },
  { keys: "Alt C", does: "copy the last answer", code: "KeyC", act: "copyAnswer" },
  { keys: "Alt M", does: "choose a model", code: "KeyM", act: "chooseModel" },
  { keys: "Alt S", does: "open the settings", code: "KeyS", act: "openSettings" },
];

const OTHERS: Shortcut[] = [
  { keys: "Enter", does: "send the message" },
  { keys: "Shift Enter", does: "begin a new line" },
  { keys: "Esc", does: "stop the answer" },
  { keys: "↑", does: "in an empty message: edit the last one" },
  { keys: "?", does: "outside of a text: show this list" },
];

export function listenToKeys(actions: KeyActions): void {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || document.querySelector("dialog[open]")) return;
    if (event.altKey) {
      const key = WITH_ALT.find(({ code }) => code === event.code);
      if (!key) return;
      actions[key.act]();
    } else if (event.key === "Escape") actions.stop();
    else if (event.key === "?" && !isTextField(event.target)) help();
    else return;
    event.preventDefault();
  });
}

export function help(): void {
  showShortcuts([...OTHERS, ...WITH_ALT]);
}

function isTextField(target: EventTarget | null): boolean {
  return target instanceof HTMLTextAreaElement || target instanceof HTMLInputElement;
}
