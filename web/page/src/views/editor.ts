import { element } from "../dom.ts";
import { growWithText, isSend } from "./text_area.ts";

/** A text area in place of a message's text. Enter sends, Escape leaves it as it was. */
export class Editor {
  readonly root: HTMLFormElement;
  private readonly area: HTMLTextAreaElement;

  constructor(role: "user" | "assistant", text: string, cancel: () => void, save: (text: string) => void) {
    const isUser = role === "user";
    this.area = element("textarea", { "aria-label": isUser ? "Your message" : "The answer", dir: "auto", rows: 1 });
    this.area.value = text;
    growWithText(this.area);
    this.root = element(
      "form",
      { class: "editor" },
      this.area,
      element("button", { type: "submit", class: "primary" }, isUser ? "Send" : "Save"),
      element("button", { type: "button", onclick: cancel }, "Cancel"),
    );
    const done = () => {
      if (this.area.value.trim() !== "") save(this.area.value);
    };
    this.root.addEventListener("submit", (event) => {
      event.preventDefault();
      done();
    });
    this.root.addEventListener("keydown", (event) => {
      if (event.key === "Escape") cancel();
      else if (isSend(event) && event.target === this.area) done();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
  }

  focus(): void {
    this.area.focus();
    this.area.dispatchEvent(new Event("input"));
  }
}
