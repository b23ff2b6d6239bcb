import { Tokenizer as Encoder } from "@huggingface/tokenizers";
import { FormatError } from "../errors.ts";
import type { Metadata } from "../files/gguf.ts";
import { type Message, renderChat } from "./chat.ts";
import { SpecialSplitter, TokenType } from "./special.ts";
import { pieceBytes, StreamDecoder } from "./stream.ts";
import { readVocabulary, type Vocabulary } from "./vocabulary.ts";

const NOTHING = new Uint8Array(0);

/** One model's vocabulary: text to token ids and back. Special tokens are never recognised in text that somebody typed;
 * they enter through `encodeChat` and the model's own template. */
export class Tokenizer {
  private readonly vocabulary: Vocabulary;
  private readonly encoder: Encoder;
  private readonly splitter: SpecialSplitter;
  private readonly typedSpaces: number[];

  constructor(metadata: Metadata) {
    this.vocabulary = readVocabulary(metadata);
    try {
      this.encoder = new Encoder(this.vocabulary.encoder, {});
    } catch (error) {
      throw new FormatError(`The file's tokenizer cannot be used: ${error instanceof Error ? error.message : error}.`);
    }
    const { special, lstrip, rstrip, tokens, types, byteLevel } = this.vocabulary;
    this.splitter = new SpecialSplitter(special, lstrip, rstrip);
    const named = byteLevel ? [] : ["<0xE2>", "<0x96>", "<0x81>"].map((text) => tokens.indexOf(text));
    this.typedSpaces = named.filter((id) => id >= 0 && types[id] === TokenType.byte);
  }

  /** Number of token ids, unused ones included. */
  get size(): number {
    return this.vocabulary.tokens.length;
  }

  /** Every token after which generation stops. */
  get eosIds(): ReadonlySet<number> {
    return this.vocabulary.eosIds;
  }

  get chatTemplate(): string | null {
    return this.vocabulary.chatTemplate;
  }

  private get begin(): number[] {
    const { addBos, bosId } = this.vocabulary;
    return addBos && bosId !== null ? [bosId] : [];
  }

  /** The ids of a text, after the token that begins a text if the model wants one. */
  encode(text: string): number[] {
    return [...this.begin, ...this.encodeRun(text)];
  }

  /** The ids of a conversation in the model's template, with the beginning of an answer. */
  encodeChat(messages: readonly Message[]): number[] {
    const { bosId, eosId, tokens, chatTemplate } = this.vocabulary;
    const name = (id: number | null) => (id === null ? "" : tokens[id]);
    const text = renderChat(chatTemplate, messages, (typed) => this.splitter.typed(typed), {
      bos_token: name(bosId),
      eos_token: name(eosId),
    });
    return [...(chatTemplate === null ? this.begin : []), ...this.encodeFragments(this.splitter.split(text))];
  }

  /** The text of ids; bytes that are no UTF-8 become U+FFFD. */
  decode(ids: Iterable<number>): string {
    const decoder = this.stream(false);
    let text = "";
    for (const id of ids) text += decoder.push(id);
    return text + decoder.flush();
  }

  /** A decoder of one id at a time. `continuation`: the ids go on with a text, so a first space stays. */
  stream(continuation = true): StreamDecoder {
    return new StreamDecoder((id) => this.piece(id), this.vocabulary.spacePrefix && !continuation);
  }

  private piece(id: number): Uint8Array {
    const { tokens, types, byteLevel } = this.vocabulary;
    if (id < 0 || id >= tokens.length || types[id] === TokenType.control || types[id] === TokenType.unknown)
      return NOTHING;
    return pieceBytes(tokens[id], types[id], byteLevel);
  }

  private encodeFragments(fragments: (string | number)[]): number[] {
    return fragments.flatMap((part) => (typeof part === "number" ? [part] : this.encodeRun(part)));
  }

  /** Ids of ordinary text between special tokens. */
  private encodeRun(text: string): number[] {
    if (!text) return [];
    const whole = text.toWellFormed();
    if (this.vocabulary.byteLevel) return this.ids(whole);
    const run = this.vocabulary.spacePrefix ? ` ${whole}` : whole;
    // A typed "▁" would decode to a space; as byte tokens it decodes to itself.
    const parts = this.typedSpaces.length === 3 ? run.split("▁") : [run];
    return parts.flatMap((part, index) => [...(index ? this.typedSpaces : []), ...this.ids(part.replaceAll(" ", "▁"))]);
  }

  private ids(text: string): number[] {
    return text ? Array.from(this.encoder.encode(text, { add_special_tokens: false }).ids) : [];
  }
}
