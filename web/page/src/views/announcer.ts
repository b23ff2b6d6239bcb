const KEPT = 20;

/** Tells screen readers what happens. An answer is read block by block as its blocks are complete, not token by
 * token. */
export class Announcer {
  private told = 0;

  constructor(private readonly region: HTMLElement) {}

  say(text: string): void {
    const line = document.createElement("p");
    line.textContent = text;
    this.region.append(line);
    while (this.region.childElementCount > KEPT) this.region.firstElementChild?.remove();
  }

  begin(): void {
    this.told = 0;
    this.say("The answer is being written.");
  }

  /** Reads the blocks of an answer that are new and complete: all but the last one, until the answer is. */
  progress(blocks: HTMLElement[], isComplete: boolean): void {
    const complete = isComplete ? blocks.length : blocks.length - 1;
    for (; this.told < complete; this.told++) this.say(blocks[this.told]?.textContent ?? "");
  }
}
