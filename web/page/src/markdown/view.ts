import { parseMarkdown } from "./blocks.ts";
import { renderBlock } from "./render.ts";

/** Shows a Markdown text that grows. Blocks that stay as they are keep their nodes, so a selection in them lasts. */
export class MarkdownView {
  private shown: string[] = [];

  constructor(readonly root: HTMLElement) {}

  /** Shows a text. Returns the elements of its blocks. */
  show(text: string): HTMLElement[] {
    const blocks = parseMarkdown(text);
    const keys = blocks.map((block) => JSON.stringify(block));
    const same = keys.findIndex((key, index) => key !== this.shown[index]);
    const kept = same < 0 ? keys.length : same;
    while (this.root.childElementCount > kept) this.root.lastElementChild?.remove();
    this.root.append(...blocks.slice(kept).map(renderBlock));
    this.shown = keys;
    return [...this.root.children] as HTMLElement[];
  }
}
