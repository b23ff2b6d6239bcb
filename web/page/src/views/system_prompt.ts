import { byId } from "../dom.ts";
import { growWithText } from "./text_area.ts";

/** The system prompt of the conversation that is shown, folded unless there is one to write. */
export class SystemPrompt {
  private readonly area = byId("system", HTMLTextAreaElement);
  private readonly beginning = byId("system-beginning", HTMLElement);

  constructor(changed: (text: string) => void) {
    growWithText(this.area);
    this.area.addEventListener("input", () => {
      changed(this.area.value);
      this.showBeginning();
    });
    const folded = byId("system-prompt", HTMLDetailsElement);
    folded.addEventListener("toggle", () => {
      if (folded.open) this.area.dispatchEvent(new Event("input"));
    });
  }

  show(text: string): void {
    if (this.area.value === text) return;
    this.area.value = text;
    this.showBeginning();
  }

  private showBeginning(): void {
    this.beginning.textContent = this.area.value.trim().split("\n", 1)[0] || "none";
  }
}
