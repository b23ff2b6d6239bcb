/** Token ids to bytes, and bytes to text as they come (`model/tokenizer/stream.py`). */

import { TokenType } from "./special.ts";

const BYTE_OF = new Map<string, number>();
{
  // GPT-2's alphabet: bytes that are visible in Latin-1 stand for themselves, the others follow from U+0100 on.
  let hidden = 256;
  for (let byte = 0; byte < 256; byte++) {
    const visible = (byte >= 0x21 && byte < 0x7f) || (byte >= 0xa1 && byte !== 0xad);
    BYTE_OF.set(String.fromCharCode(visible ? byte : hidden++), byte);
  }
}
const UTF8 = new TextEncoder();
const BYTE_PIECE = /^<0x([0-9A-F]{2})>$/;

/** Whether a SentencePiece token is written as a byte. */
export function isBytePiece(text: string): boolean {
  return BYTE_PIECE.test(text);
}

/** The bytes of a token's text. */
export function pieceBytes(text: string, type: number, byteLevel: boolean): Uint8Array {
  if (byteLevel) {
    const bytes = [...text].map((character) => BYTE_OF.get(character));
    const inAlphabet = type !== TokenType.userDefined && bytes.every((byte) => byte !== undefined);
    return inAlphabet ? Uint8Array.from(bytes as number[]) : UTF8.encode(text);
  }
  const byte = type === TokenType.byte ? BYTE_PIECE.exec(text) : null;
  return byte ? Uint8Array.of(Number.parseInt(byte[1], 16)) : UTF8.encode(text.replaceAll("▁", " "));
}

/** Text as tokens come: never half a UTF-8 character. */
export class StreamDecoder {
  private readonly utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

  constructor(
    private readonly piece: (id: number) => Uint8Array,
    private stripSpace = false,
  ) {}

  /** The text that became certain with this token, often empty. */
  push(id: number): string {
    let bytes = this.piece(id);
    if (this.stripSpace && bytes.length) {
      this.stripSpace = false;
      if (bytes[0] === 0x20) bytes = bytes.subarray(1);
    }
    return this.utf8.decode(bytes, { stream: true });
  }

  /** What is left at the end: U+FFFD for a character that never became whole, else nothing. */
  flush(): string {
    return this.utf8.decode();
  }
}
