import { element, iconButton } from "../dom.ts";

/** Sentences about what went wrong or was done, above the conversation until they are closed. */
export class Notices {
  private readonly shown = new Map<string, HTMLElement>();

  constructor(private readonly region: HTMLElement) {}

  /** Shows a sentence; one that is there already is not repeated. */
  show(sentence: string): void {
    if (this.shown.has(sentence)) return;
    const close = iconButton("close", "Close this notice", () => this.remove(sentence));
    const notice = element("div", { class: "notice" }, element("span", {}, sentence), close);
    this.shown.set(sentence, notice);
    this.region.append(notice);
  }

  remove(sentence: string): void {
    this.shown.get(sentence)?.remove();
    this.shown.delete(sentence);
  }
}
