/** A vocabulary from the `tokenizer.*` metadata of a GGUF file (v3; `model/tokenizer/gguf.py`). */

import { FormatError, UnsupportedError } from "../errors.ts";
import type { Metadata } from "../files/gguf.ts";
import { usableTemplate } from "./chat.ts";
import PRE_TYPES from "./pre.json" with { type: "json" };
import { endsAText, looksSpecial, TokenType } from "./special.ts";
import { isBytePiece } from "./stream.ts";

export interface Vocabulary {
  readonly tokens: readonly string[];
  readonly types: ArrayLike<number>;
  /** True: GPT-2's alphabet of bytes. False: SentencePiece pieces, "▁" for the space. */
  readonly byteLevel: boolean;
  /** A space goes before each run of text between special tokens. */
  readonly spacePrefix: boolean;
  readonly special: ReadonlyMap<string, number>;
  readonly bosId: number | null;
  readonly eosId: number | null;
  readonly eosIds: ReadonlySet<number>;
  /** Special tokens that take the white space before them, or after them, along. */
  readonly lstrip: ReadonlySet<number>;
  readonly rstrip: ReadonlySet<number>;
  readonly addBos: boolean;
  /** The model's own Jinja template; null where it has none that can be used. */
  readonly chatTemplate: string | null;
  /** The encoder of ordinary text, as the content of a tokenizer.json. */
  readonly encoder: object;
}

const PREFIX = "tokenizer.ggml.";
const MAX_TOKENS = 1 << 20;
const MAX_TOKEN_CHARACTERS = 1024;
const LLAMA3_VOCAB_SIZE = 128256;

/** One pre type: its expressions in order, and its defaults where a file does not say. */
interface Pre {
  patterns: string[];
  ignore_merges: boolean;
  add_bos: boolean;
  pieces: boolean;
}

export function readVocabulary(metadata: Metadata): Vocabulary {
  const tokens = strings(metadata, "tokens", MAX_TOKENS);
  if (!tokens?.length) throw new FormatError("The file has no vocabulary (tokenizer.ggml.tokens).");
  tokens.forEach((text, id) => {
    if (text.length > MAX_TOKEN_CHARACTERS)
      throw new FormatError(`Token ${id} has ${text.length} characters; at most ${MAX_TOKEN_CHARACTERS} are possible.`);
  });
  const types = readTypes(metadata, tokens);
  const ids = Object.fromEntries(
    ["bos", "eos", "eot", "eom"].map((name) => [name, tokenId(metadata, name, tokens.length)]),
  ) as Record<"bos" | "eos" | "eot" | "eom", number | null>;
  for (const id of Object.values(ids))
    if (id !== null && types[id] !== TokenType.unknown) types[id] = TokenType.control;
  const special = new Map<string, number>();
  types.forEach((type, id) => {
    if (type === TokenType.control || type === TokenType.unknown) special.set(tokens[id], id);
  });
  const listed = (name: string) => tokenIds(metadata, `tokenizer.sterna.${name}_token_ids`, tokens.length);
  const ends = [ids.eos, ids.eot, ids.eom, ...listed("eos"), ...endsAText(special)];
  const kind = encoderOf(metadata, tokens, types);
  const template = metadata.get("tokenizer.chat_template");
  return {
    tokens,
    types,
    special,
    ...kind,
    bosId: ids.bos,
    eosId: ids.eos,
    eosIds: new Set(ends.filter((id) => id !== null)),
    lstrip: new Set(listed("lstrip")),
    rstrip: new Set(listed("rstrip")),
    addBos: flag(metadata, "add_bos_token", kind.addBos) && ids.bos !== null,
    chatTemplate: usableTemplate(typeof template === "string" ? template : null, special),
  };
}

function encoderOf(metadata: Metadata, tokens: string[], types: Int32Array) {
  const model = metadata.get(`${PREFIX}model`) ?? "gpt2";
  if (model !== "gpt2" && model !== "llama" && model !== "gemma4")
    throw new UnsupportedError(`The tokenizer model '${model}' is not read here; gpt2, llama and gemma4 are.`);
  if (model === "llama") return sentencepiece(metadata, tokens, types);
  const pre = preType(metadata, tokens, model === "gemma4" ? "gemma4" : "default");
  const hasBytes = tokens.includes("<0x00>") && !tokens.includes("Ġ");
  if (model === "gemma4" || hasBytes || pre.pieces) return mergedPieces(metadata, tokens, types, pre);
  return byteLevel(metadata, tokens, types, pre);
}

function preType(metadata: Metadata, tokens: string[], fallback: string): Pre {
  const name = metadata.get(`${PREFIX}pre`) ?? (tokens.length === LLAMA3_VOCAB_SIZE ? "llama-bpe" : fallback);
  const found = PRE_TYPES.find((pre) => pre.names.includes(String(name)));
  if (!found) throw new UnsupportedError(`The pre-tokenizer type '${name}' is unknown.`);
  return found;
}

function byteLevel(metadata: Metadata, tokens: string[], types: Int32Array, pre: Pre) {
  const vocab: Record<string, number> = Object.create(null);
  const isSpecial = (id: number) => types[id] === TokenType.control || types[id] === TokenType.unknown;
  tokens.forEach((text, id) => {
    if (!isSpecial(id)) vocab[text] = id;
  });
  const splits = pre.patterns.map((pattern) => ({
    type: "Split",
    pattern: { Regex: pattern },
    behavior: "Isolated",
    invert: false,
  }));
  const alphabet = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
  const encoder = encoderJson(tokens, types, {
    model: { type: "BPE", vocab, merges: merges(metadata, vocab), ignore_merges: pre.ignore_merges },
    pre_tokenizer: { type: "Sequence", pretokenizers: [...splits, alphabet] },
  });
  return { byteLevel: true, spacePrefix: false, addBos: pre.add_bos, encoder };
}

/** SentencePiece's BPE: the pair whose piece scores highest merges first. */
function sentencepiece(metadata: Metadata, tokens: string[], types: Int32Array) {
  const scores = metadata.get(`${PREFIX}scores`);
  if (typeof scores !== "object" || scores.length !== tokens.length || typeof scores[0] !== "number")
    throw new FormatError("A SentencePiece vocabulary needs a score for each token (tokenizer.ggml.scores).");
  const vocab = pieces(tokens, types);
  const rank = (text: string) => -(scores as ArrayLike<number>)[vocab[text]];
  const ranked = Object.keys(vocab).filter((text) => types[vocab[text]] !== TokenType.byte);
  ranked.sort((a, b) => rank(a) - rank(b) || vocab[a] - vocab[b]);
  const pairs: [string, string][] = [];
  for (const text of ranked)
    for (let cut = text.length - 1; cut > 0; cut--) {
      const left = text.slice(0, cut);
      const right = text.slice(cut);
      if (left in vocab && right in vocab) pairs.push([left, right]);
    }
  const unknown = tokens.find((text, id) => text && types[id] === TokenType.unknown) ?? null;
  if (unknown !== null) vocab[unknown] ??= tokens.indexOf(unknown);
  const model = { type: "BPE", vocab, merges: pairs, byte_fallback: true, unk_token: unknown };
  const spacePrefix = flag(metadata, "add_space_prefix", true);
  return { byteLevel: false, spacePrefix, addBos: true, encoder: encoderJson(tokens, types, { model }) };
}

/** Gemma's vocabulary with merges instead of scores: no space before a text. */
function mergedPieces(metadata: Metadata, tokens: string[], types: Int32Array, pre: Pre) {
  tokens.forEach((text, id) => {
    if (isBytePiece(text)) types[id] = TokenType.byte;
  });
  const vocab = pieces(tokens, types);
  const model = { type: "BPE", vocab, merges: merges(metadata, vocab), byte_fallback: true, unk_token: null };
  const addBos = pre.add_bos || !pre.pieces;
  return { byteLevel: false, spacePrefix: false, addBos, encoder: encoderJson(tokens, types, { model }) };
}

function pieces(tokens: string[], types: Int32Array): Record<string, number> {
  const vocab: Record<string, number> = Object.create(null);
  tokens.forEach((text, id) => {
    if (!text || types[id] === TokenType.control || types[id] === TokenType.unknown) return;
    vocab[types[id] === TokenType.byte ? text : text.replaceAll(" ", "▁")] = id;
  });
  return vocab;
}

function encoderJson(tokens: string[], types: Int32Array, parts: { model: object; pre_tokenizer?: object }): object {
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: false };
  const added_tokens = tokens.flatMap((content, id) =>
    types[id] === TokenType.userDefined && content ? [{ id, content, ...flags }] : [],
  );
  const none = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null };
  return { version: "1.0", truncation: null, padding: null, added_tokens, ...none, ...parts };
}

/** The merges of a file ("left right"), those of unknown tokens left out. */
function merges(metadata: Metadata, vocab: Record<string, number>): [string, string][] {
  const listed = strings(metadata, "merges", 4 * MAX_TOKENS);
  if (!listed) throw new FormatError("The file's BPE vocabulary has no merges (tokenizer.ggml.merges).");
  return listed.flatMap((merge): [string, string][] => {
    const cut = merge.indexOf(" ");
    const [left, right] = [merge.slice(0, cut), merge.slice(cut + 1)];
    return left in vocab && right in vocab && left + right in vocab ? [[left, right]] : [];
  });
}

function readTypes(metadata: Metadata, tokens: string[]): Int32Array {
  const given = metadata.get(`${PREFIX}token_type`);
  if (given === undefined) return new Int32Array(tokens.length).fill(TokenType.normal);
  if (typeof given !== "object" || given.length !== tokens.length || typeof given[0] !== "number")
    throw new FormatError(`${PREFIX}token_type is no array of ${tokens.length} numbers, one for each token.`);
  const types = Int32Array.from(given as ArrayLike<number>);
  types.forEach((type, id) => {
    if (type === TokenType.userDefined && looksSpecial(tokens[id])) types[id] = TokenType.control;
  });
  return types;
}

/** A special token's id; null where the file has none, or one outside the vocabulary. */
function tokenId(metadata: Metadata, name: string, size: number): number | null {
  const id = metadata.get(`${PREFIX}${name}_token_id`);
  return typeof id === "number" && id >= 0 && id < size ? id : null;
}

function tokenIds(metadata: Metadata, key: string, size: number): number[] {
  const ids = metadata.get(key);
  const numbers = typeof ids === "object" ? Array.from(ids as ArrayLike<number>) : [];
  return numbers.filter((id) => Number.isInteger(id) && id >= 0 && id < size);
}

function flag(metadata: Metadata, name: string, fallback: boolean): boolean {
  const value = metadata.get(PREFIX + name) ?? fallback;
  if (typeof value !== "boolean") throw new FormatError(`${PREFIX}${name} is no boolean.`);
  return value;
}

function strings(metadata: Metadata, name: string, limit: number): string[] | null {
  const value = metadata.get(PREFIX + name);
  if (value === undefined) return null;
  const fits = Array.isArray(value) && value.length <= limit && value.every((text) => typeof text === "string");
  if (!fits) throw new FormatError(`${PREFIX}${name} is no list of at most ${limit} strings.`);
  return value as string[];
}
