import type { Inline } from "./tree.ts";

/** How many marks may be open at a time: this keeps the time linear, and the tree flat. */
const MOST_OPEN = 50;
const LONGEST_ADDRESS = 2000;
const BARE_ADDRESS = /https?:\/\/[^\s<>"'`\\^{}|]{1,2000}/y;
const SPECIAL = /[\\`*_~[\]!<\nh]/g;
const ESCAPABLE = /[!-/:-@[-`{-~]/;

/** A mark that may yet turn out to begin something, and what has come since. */
interface Open {
  mark: string;
  content: Inline[];
}

/** Parses the text of a paragraph, in time linear in its length. What is not complete, or not known, stays text: HTML
 * always does. An image becomes a link to it. */
export function parseInline(text: string): Inline[] {
  return new InlineParser(text).parse();
}

/** The address that a link may have: http and https alone. */
export function safeAddress(address: string): string | null {
  if (!/^https?:\/\//i.test(address)) return null;
  try {
    return new URL(address).href;
  } catch {
    return null;
  }
}

class InlineParser {
  private at = 0;
  private readonly stack: Open[] = [{ mark: "", content: [] }];
  /** Runs of backticks that no later run of the same length closes. */
  private readonly unclosedCode = new Set<number>();

  constructor(private readonly text: string) {}

  parse(): Inline[] {
    while (this.at < this.text.length) {
      SPECIAL.lastIndex = this.at;
      const next = SPECIAL.exec(this.text)?.index ?? this.text.length;
      this.add(this.text.slice(this.at, next));
      this.at = next;
      if (next < this.text.length) this.special();
    }
    while (this.stack.length > 1) this.drop();
    return this.stack[0]?.content ?? [];
  }

  private special(): void {
    const character = this.text[this.at] ?? "";
    switch (character) {
      case "\\":
        return this.escape();
      case "`":
        return this.code();
      case "\n":
        this.at++;
        return this.add({ kind: "break" });
      case "[":
        return this.open("[", 1);
      case "!":
        return this.text[this.at + 1] === "[" ? this.open("![", 2) : this.literal(1);
      case "]":
        return this.closeLink();
      case "<":
      case "h":
        return this.bareLink();
      default:
        return this.emphasis(character);
    }
  }

  private add(piece: Inline): void {
    const content = this.stack[this.stack.length - 1]?.content ?? [];
    const last = content.length - 1;
    if (typeof piece === "string" && typeof content[last] === "string") content[last] += piece;
    else if (piece !== "") content.push(piece);
  }

  private literal(length: number): void {
    this.add(this.text.slice(this.at, this.at + length));
    this.at += length;
  }

  private open(mark: string, length: number): void {
    if (this.stack.length > MOST_OPEN) return this.literal(length);
    this.stack.push({ mark, content: [] });
    this.at += length;
  }

  /** Makes text of the innermost open mark. */
  private drop(): void {
    const top = this.stack.pop();
    for (const piece of top ? [top.mark, ...top.content] : []) this.add(piece);
  }

  /** Closes the innermost open `mark`; what was opened in it becomes text. */
  private close(mark: string): Inline[] {
    while (this.stack[this.stack.length - 1]?.mark !== mark) this.drop();
    return this.stack.pop()?.content ?? [];
  }

  private isOpen(mark: string): boolean {
    return this.stack.some((open) => open.mark === mark);
  }

  private escape(): void {
    const next = this.text[this.at + 1] ?? "";
    if (!ESCAPABLE.test(next)) return this.literal(1);
    this.at++;
    this.literal(1);
  }

  private code(): void {
    const length = this.run("`");
    const from = this.at + length;
    const to = this.unclosedCode.has(length) ? -1 : this.codeEnd(from, length);
    if (to < 0) {
      this.unclosedCode.add(length);
      return this.literal(length);
    }
    const inner = this.text.slice(from, to).replaceAll("\n", " ");
    const isPadded = inner.startsWith(" ") && inner.endsWith(" ") && inner.trim() !== "";
    this.add({ kind: "code", text: isPadded ? inner.slice(1, -1) : inner });
    this.at = to + length;
  }

  private codeEnd(from: number, length: number): number {
    for (let at = this.text.indexOf("`", from); at >= 0; ) {
      const found = this.run("`", at);
      if (found === length) return at;
      at = this.text.indexOf("`", at + found);
    }
    return -1;
  }

  private run(character: string, from = this.at): number {
    let end = from;
    while (this.text[end] === character) end++;
    return end - from;
  }

  /** `*`, `_` and `~`: a run of them may close what is open, and open what may come. */
  private emphasis(character: string): void {
    const length = this.run(character);
    const before = this.text[this.at - 1] ?? " ";
    const after = this.text[this.at + length] ?? " ";
    const inWord = character === "_" && isWord(before) && isWord(after);
    if ((character === "~" && length !== 2) || length > 3 || inWord) return this.literal(length);
    let left = length;
    if (!isSpace(before)) left = this.closeEmphasis(character, left);
    if (left === 0) return;
    const canOpen = !isSpace(after) && (isWord(after) || !isWord(before));
    if (!canOpen) return this.literal(left);
    for (const size of left === 3 ? [2, 1] : [left]) this.open(character.repeat(size), size);
  }

  private closeEmphasis(character: string, length: number): number {
    let left = length;
    while (left > 0) {
      const sizes = [Math.min(left, 2), 1].filter((size) => character !== "~" || size === 2);
      const marks = sizes.map((size) => character.repeat(size));
      const mark = this.stack.findLast((open) => marks.includes(open.mark))?.mark;
      if (mark === undefined) break;
      const content = this.close(mark);
      const kind = character === "~" ? "strike" : mark.length === 2 ? "strong" : "emphasis";
      if (content.length === 0) this.add(mark + mark);
      else this.add({ kind, content });
      left -= mark.length;
      this.at += mark.length;
    }
    return left;
  }

  private closeLink(): void {
    const mark = this.stack.findLast((open) => open.mark === "[" || open.mark === "![")?.mark;
    if (mark === undefined) return this.literal(1);
    const target = this.target(this.at + 1);
    const content = this.close(mark);
    const address = target && safeAddress(target.address);
    if (target && address) {
      this.at = target.end;
      if (this.isOpen("[")) for (const piece of content) this.add(piece);
      else this.add({ kind: "link", address, content: content.length > 0 ? content : [target.address] });
    } else {
      this.add(mark);
      for (const piece of content) this.add(piece);
      this.literal(1);
    }
  }

  /** `(address)` or `(address "title")` at a place. */
  private target(from: number): { address: string; end: number } | null {
    if (this.text[from] !== "(") return null;
    const found = /^\(\s*<?((?:[^\s()<>]|\([^\s()<>]*\))*)>?(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)/.exec(
      this.text.slice(from, from + LONGEST_ADDRESS),
    );
    return found ? { address: found[1] ?? "", end: from + found[0].length } : null;
  }

  /** An address that stands in the text, also as `<address>`. */
  private bareLink(): void {
    const isQuoted = this.text[this.at] === "<";
    BARE_ADDRESS.lastIndex = this.at + (isQuoted ? 1 : 0);
    const isInWord = !isQuoted && isWord(this.text[this.at - 1] ?? " ");
    const found = isInWord || this.isOpen("[") ? null : BARE_ADDRESS.exec(this.text)?.[0];
    const address = found && withoutTail(found);
    const link = address && safeAddress(address);
    const end = BARE_ADDRESS.lastIndex;
    if (!address || !link || (isQuoted && this.text[end] !== ">")) return this.literal(1);
    this.add({ kind: "link", address: link, content: [isQuoted ? (found ?? "") : address] });
    this.at += isQuoted ? end + 1 - this.at : address.length;
  }
}

/** An address without what ends the sentence around it. */
function withoutTail(address: string): string {
  const ends = address.includes("(") ? ".,;:!?*_~]" : ".,;:!?*_~])";
  let end = address.length;
  while (ends.includes(address[end - 1] ?? " ")) end--;
  return address.slice(0, end);
}

function isSpace(character: string): boolean {
  return /\s/.test(character);
}

function isWord(character: string): boolean {
  return /[\p{L}\p{N}]/u.test(character);
}
