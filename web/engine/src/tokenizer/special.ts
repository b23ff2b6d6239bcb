/** Special tokens, which enter through templates only (`model/tokenizer/special.py`). */

/** `tokenizer.ggml.token_type` (GGUF v3; SentencePiece's piece types). */
export const TokenType = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

const LOOKS_SPECIAL = /^(?:<\|.*\|>|<｜.*｜>|<\/?s>|<(?:unk|pad|mask|bos|eos)>|<(?:start|end)_of_turn>)$/s;

/** A user-defined token that looks like a control token is one: some converters wrote those so. */
export function looksSpecial(text: string): boolean {
  return LOOKS_SPECIAL.test(text);
}

const ENDS_A_TEXT = [
  "<|eot_id|>",
  "<|eom_id|>",
  "<|im_end|>",
  "<|end|>",
  "<|end_of_text|>",
  "<|endoftext|>",
  "<end_of_turn>",
  "<｜end▁of▁sentence｜>",
  "</s>",
  "<|return|>",
  "<|call|>",
  "<end_of_utterance>",
  "<|END_OF_TURN_TOKEN|>",
  "<seed:eos>",
  "[EOS]",
];

/** The special tokens that end a text or a turn whatever the model, by their names. */
export function endsAText(special: ReadonlyMap<string, number>): number[] {
  const names = ENDS_A_TEXT.filter((name) => special.has(name));
  const harmony = names.includes("<|return|>") && names.includes("<|call|>");
  return names.filter((name) => !(harmony && name === "<|end|>")).map((name) => special.get(name) as number);
}

const MAX_SPECIAL_CHARACTERS = 128;
/** A noncharacter before a character that begins no special token, and within names that somebody typed. */
const MARK = "\uFDD0";

/** Unicode's White_Space, one character. */
const SPACE = /[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;

/** Finds special tokens in a text, the longest at each place. White space before a token of `lstrip` and after one of
 * `rstrip` belongs to the token. */
export class SpecialSplitter {
  private readonly names: readonly string[];
  private readonly pattern: RegExp | null;

  constructor(
    private readonly special: ReadonlyMap<string, number>,
    private readonly lstrip: ReadonlySet<number> = new Set(),
    private readonly rstrip: ReadonlySet<number> = new Set(),
  ) {
    this.names = [...special.keys()].filter((text) => text && text.length <= MAX_SPECIAL_CHARACTERS);
    const longestFirst = this.names.toSorted((a, b) => b.length - a.length);
    const escaped = longestFirst.map((name) => name.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&"));
    this.pattern = escaped.length ? new RegExp(`(?<!${MARK})(?:${escaped.join("|")})`, "gu") : null;
  }

  /** Ordinary text (never empty) and ids of special tokens, in order; marks of `typed` are taken out. */
  split(text: string): (string | number)[] {
    const parts: (string | number)[] = [];
    let start = 0;
    const push = (end: number) => {
      const plain = text.slice(start, end).replaceAll(MARK, "");
      if (plain) parts.push(plain);
    };
    for (const match of this.pattern ? text.matchAll(this.pattern) : []) {
      const id = this.special.get(match[0]) as number;
      let end = match.index;
      if (this.lstrip.has(id)) while (end > start && SPACE.test(text[end - 1])) end--;
      push(end);
      parts.push(id);
      start = match.index + match[0].length;
      if (this.rstrip.has(id)) while (start < text.length && SPACE.test(text[start])) start++;
    }
    push(text.length);
    return parts;
  }

  /** A text that somebody typed, so marked that `split` finds no special token that has any of it, whatever stands
   * around it. Templates trim what was typed, so white space at its ends stays without marks. */
  typed(text: string): string {
    const plain = text.replaceAll(MARK, "");
    const core = plain.trim();
    if (!this.pattern || !core) return plain;
    let marked = core.replace(this.pattern, (name) => MARK + [...name].join(MARK));
    if (this.names.some((name) => endsBeyond(name, core))) marked = marked.replace(/.$/su, `${MARK}$&`);
    if (this.names.some((name) => beginsBefore(name, core))) marked = MARK + marked;
    return plain.replace(core, () => marked);
  }
}

/** Whether a name may begin before a text and go on with it. */
function beginsBefore(name: string, text: string): boolean {
  for (let at = name.indexOf(text[0], 1); at > 0; at = name.indexOf(text[0], at + 1)) {
    const rest = name.slice(at);
    if (text.startsWith(rest) || rest.startsWith(text)) return true;
  }
  return false;
}

/** Whether a name may begin with the end of a text and go on after it. */
function endsBeyond(name: string, text: string): boolean {
  for (let end = name.length - 1; end > 0; end--) if (text.endsWith(name.slice(0, end))) return true;
  return false;
}
