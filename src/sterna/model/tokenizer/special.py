"""Special tokens, which enter through templates alone: which tokens are special, which end a text, where they are in a
text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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
    return frozenset(special[name] for name in _ENDS_A_TEXT & special.keys())


MAX_SPECIAL_CHARACTERS = 128
"""Four times the longest in use. The limit bounds the search, which tries each length that occurs at each place where a
special token may begin."""


class SpecialSplitter:
    """Finds special tokens in a text, the longest at each place; those beyond `MAX_SPECIAL_CHARACTERS` stay text."""

    def __init__(self, special: Mapping[str, int]) -> None:
        self._ids = {text: token for text, token in special.items() if 0 < len(text) <= MAX_SPECIAL_CHARACTERS}
        self._lengths = sorted({len(text) for text in self._ids}, reverse=True)
        self._first = re.compile(
            "|".join(re.escape(first) for first in sorted({text[0] for text in self._ids})) or "(?!)"
        )

    def split(self, text: str) -> Iterator[str | int]:
        """Yields ordinary text (str, never empty) and special tokens (their ids), in order."""
        start = position = 0
        while found := self._first.search(text, position):
            at = found.start()
            length = next((n for n in self._lengths if text[at : at + n] in self._ids), 0)
            if length:
                if at > start:
                    yield text[start:at]
                yield self._ids[text[at : at + length]]
                start = at + length
            position = at + max(length, 1)
        if start < len(text):
            yield text[start:]
