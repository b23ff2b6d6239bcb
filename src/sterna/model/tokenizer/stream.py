"""Decodes token ids to bytes, and bytes to text as they come."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence, Set

import numpy as np

from sterna.errors import ArgumentError
from sterna.model.tokenizer.special import BYTE_PIECES, TokenType

# GPT-2's alphabet: byte-level vocabularies write each byte as one visible character. Bytes that are visible in
# Latin-1 stand for themselves, the other 68 follow from U+0100 on (openai/gpt-2, encoder.py).
_VISIBLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_HIDDEN = [byte for byte in range(256) if byte not in set(_VISIBLE)]
_CHARACTER_OF = {byte: byte for byte in _VISIBLE} | {byte: 256 + i for i, byte in enumerate(_HIDDEN)}
_BYTE_OF = {character: byte for byte, character in _CHARACTER_OF.items()}


def to_byte_level(data: bytes) -> str:
    """Bytes in GPT-2's alphabet, one character each."""
    return data.decode("latin-1").translate(_CHARACTER_OF)


def from_byte_level(text: str) -> bytes:
    """The inverse of `to_byte_level`; a text with characters outside the alphabet becomes its UTF-8."""
    if all(ord(character) in _BYTE_OF for character in text):
        return text.translate(_BYTE_OF).encode("latin-1")
    return text.encode("utf-8", "replace")


class Pieces:
    """The bytes of each token: `pieces(id, skip_special)`."""

    def __init__(self, tokens: Sequence[str], types: np.ndarray, special: Set[int], byte_level: bool) -> None:
        self._tokens, self._special, self._byte_level = tokens, special, byte_level
        self._user_defined = frozenset(np.flatnonzero(types == TokenType.USER_DEFINED).tolist())
        self._bytes = frozenset(np.flatnonzero(types == TokenType.BYTE).tolist())

    def __call__(self, token: int, skip_special: bool = True) -> bytes:
        """Raises ArgumentError for an id that the vocabulary does not have."""
        if not 0 <= token < len(self._tokens):
            raise ArgumentError(f"Token id {token} is outside the vocabulary of {len(self._tokens)} tokens.")
        text = self._tokens[token]
        if token in self._special:
            return b"" if skip_special else text.encode("utf-8", "replace")
        if self._byte_level:
            return text.encode("utf-8", "replace") if token in self._user_defined else from_byte_level(text)
        if token in self._bytes:
            return bytes([BYTE_PIECES[text]])
        return text.replace("▁", " ").encode("utf-8", "replace")


class StreamDecoder:
    """Text as tokens come: `push` gives the text that is certain so far, and never half a UTF-8 character.

    All pieces and the text of `flush`, joined, are exactly what `decode` gives for those ids that the vocabulary has.
    """

    def __init__(self, piece: Callable[[int], bytes], strip_space: bool = False) -> None:
        self._piece, self._strip_space = piece, strip_space
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The text that became certain with this token, often empty."""
        data = self._piece(token)
        if self._strip_space and data:
            self._strip_space = False
            data = data.removeprefix(b" ")
        return self._utf8.decode(data)

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that never became whole, else nothing."""
        return self._utf8.decode(b"", final=True)
