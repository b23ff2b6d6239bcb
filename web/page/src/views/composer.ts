import { byId } from "../dom.ts";
import { growWithText, isSend } from "./text_area.ts";

export interface ComposerActions {
  send(text: string): void;
  stop(): void;
  editLast(): void;
  typed(text: string): void;
}

/** Where a message is written. What is typed stays until it was sent. */
export class Composer {
  private readonly area = byId("message", HTMLTextAreaElement);
  private readonly send = byId("send", HTMLButtonElement);
  private readonly stop = byId("stop", HTMLButtonElement);
  private isAnswering = false;

  constructor(private readonly actions: ComposerActions) {
    growWithText(this.area);
    byId("composer", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.stop.addEventListener("click", () => {
      actions.stop();
      this.focus();
    });
    this.area.addEventListener("input", () => {
      actions.typed(this.area.value);
      this.showButtons();
    });
    this.area.addEventListener("keydown", (event) => {
      if (isSend(event)) this.submit();
      else if (event.key === "ArrowUp" && !event.altKey && this.area.value === "") actions.editLast();
      else return;
      event.preventDefault();
    });
  }

  get text(): string {
    return this.area.value;
  }

  set text(text: string) {
    if (text === this.area.value) return;
    this.area.value = text;
    this.area.dispatchEvent(new Event("input"));
  }

  /** While an answer is written it can be stopped, and the next message typed. */
  setAnswering(isAnswering: boolean): void {
    this.isAnswering = isAnswering;
    this.showButtons();
  }

  focus(): void {
    this.area.focus();
  }

  private submit(): void {
    const text = this.area.value.trim();
    if (text !== "" && !this.isAnswering) this.actions.send(text);
  }

  private showButtons(): void {
    this.send.hidden = this.isAnswering;
    this.stop.hidden = !this.isAnswering;
    this.send.disabled = this.area.value.trim() === "";
  }
}
