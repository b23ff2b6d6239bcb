"""Special tokens, which enter through templates only: which tokens are special, which of them end a text, and where
they are in a text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from enum import IntEnum

import numpy as np


class TokenType(IntEnum):
    """`tokenizer.ggml.token_type` (GGUF v3; SentencePiece's piece types)."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


# llama.cpp finds user-defined tokens (runs of spaces, `<think>`) in every text, and control tokens only where it is
# asked to. Sterna does the same, with one exception: converters wrote some control tokens as user-defined (`</s>` of
# Phi-3), so a user-defined token that looks like a control token is special. Nobody may end a turn by typing its name.
_LOOKS_SPECIAL = re.compile(r"<\|.*\|>|<｜.*｜>|</?s>|<(unk|pad|mask|bos|eos)>|<(start|end)_of_turn>", re.DOTALL)

_ENDS_A_TEXT = frozenset(
    (
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
    )
)


def is_special(text: str, kind: int) -> bool:
    """Whether a token of GGUF type `kind` may enter through templates only."""
    if kind in (TokenType.CONTROL, TokenType.UNKNOWN):
        return True
    return kind == TokenType.USER_DEFINED and _LOOKS_SPECIAL.fullmatch(text) is not None


SPECIAL_TYPES = (TokenType.CONTROL, TokenType.UNKNOWN)
BYTE_PIECES = {f"<0x{byte:02X}>": byte for byte in range(256)}
"""How SentencePiece vocabularies write their byte tokens."""


def ids_of(types: np.ndarray, *kinds: TokenType) -> list[int]:
    """The ids of all tokens of these types, ascending."""
    return np.flatnonzero(np.isin(types, kinds)).tolist()


def ends_a_text(special: Mapping[str, int]) -> frozenset[int]:
    """The ids of those special tokens that end a text or a turn whatever the model, by their names."""
    names = _ENDS_A_TEXT & special.keys()
    if "<|return|>" in names and "<|call|>" in names:
        names -= {"<|end|>"}  # in gpt-oss it ends a part of the answer
    return frozenset(special[name] for name in names)


MAX_SPECIAL_CHARACTERS = 128
"""Four times the longest in use. The limit bounds the search, which tries each length that occurs at each place where a
special token may begin."""


WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
"""Unicode's White_Space, as `tokenizers` takes it."""
_SPACES = re.compile(f"[{WHITE_SPACE}]*")


class SpecialSplitter:
    """Finds special tokens in a text, the longest at each place; those beyond `MAX_SPECIAL_CHARACTERS` stay text.

    White space before a token of `lstrip` and after one of `rstrip` belongs to the token.
    """

    def __init__(
        self, special: Mapping[str, int], lstrip: Set[int] = frozenset(), rstrip: Set[int] = frozenset()
    ) -> None:
        self._ids = {text: token for text, token in special.items() if 0 < len(text) <= MAX_SPECIAL_CHARACTERS}
        self._lstrip, self._rstrip = lstrip, rstrip
        self._lengths = sorted({len(text) for text in self._ids}, reverse=True)
        self._first = re.compile(
            "|".join(re.escape(first) for first in sorted({text[0] for text in self._ids})) or "(?!)"
        )

    def split(self, text: str, typed: bytes | None = None) -> Iterator[str | int]:
        """Yields ordinary text (str, never empty) and special tokens (their ids), in order.

        `typed` has a byte for each character of `text`; a token with a character whose byte is 1 stays text.
        """
        start = position = 0
        while found := self._first.search(text, position):
            at = found.start()
            length = next((n for n in self._lengths if self._is_token(text, at, n, typed)), 0)
            position = at + max(length, 1)
            if not length:
                continue
            token = self._ids[text[at:position]]
            before = text[start:at]
            if token in self._lstrip:
                before = before.rstrip(WHITE_SPACE)
            if before:
                yield before
            yield token
            if token in self._rstrip:
                position = next(_SPACES.finditer(text, position)).end()
            start = position
        if start < len(text):
            yield text[start:]

    def _is_token(self, text: str, at: int, length: int, typed: bytes | None) -> bool:
        return text[at : at + length] in self._ids and (typed is None or 1 not in typed[at : at + length])
