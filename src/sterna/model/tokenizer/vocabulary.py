"""The vocabulary that every source of a tokenizer (GGUF, tokenizer.json, tiktoken) is read into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from sterna.errors import FormatError

if TYPE_CHECKING:
    import tokenizers

MAX_TOKEN_CHARACTERS = 1024
"""Published vocabularies stay far below (128: runs of spaces). Finding a token's merges takes time quadratic in its
length."""


def check_lengths(tokens: Sequence[str]) -> None:
    """Raises FormatError for a token longer than any vocabulary has."""
    for token, text in enumerate(tokens):
        if len(text) > MAX_TOKEN_CHARACTERS:
            raise FormatError(
                f"Token {token} has {len(text)} characters, where at most {MAX_TOKEN_CHARACTERS} are possible."
            )


class Prefix(Enum):
    """Where a SentencePiece vocabulary puts a space before text; `decode` removes the first one."""

    NONE = "none"
    EACH_RUN = "each run"
    """Before each run of text between special tokens, as llama.cpp does."""
    FIRST_RUN = "first run"
    """Before a text that begins a sequence, unless it begins with a space: `prepend_scheme: first`."""
    LIBRARY = "library"
    """The encoder adds the space by itself."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a model, the `tokenizers` encoder for ordinary text, and what goes before and after a text."""

    tokens: Sequence[str]
    types: np.ndarray
    """int [n]: GGUF's `TokenType`; tokens that may enter through templates only are of `SPECIAL_TYPES`."""
    encoder: tokenizers.Tokenizer
    byte_level: bool
    """True: GPT-2's alphabet of bytes. False: SentencePiece pieces, "▁" for the space."""
    prefix: Prefix
    bos_id: int | None
    eos_id: int | None
    """The one end token that templates call `eos_token`."""
    eos_ids: frozenset[int]
    add_bos: bool
    suffix_id: int | None
    """The token that the file puts after a text (an embedding model's last one); None where it puts none."""
    chat_template: str | None
    lstrip: frozenset[int]
    """The special tokens that take the white space before them along."""
    rstrip: frozenset[int]
    """The special tokens that take the white space after them along."""
    gguf_metadata: Callable[[], dict[str, Any]]
    """The `tokenizer.*` keys that make an equal tokenizer; raises UnsupportedError where GGUF cannot describe it."""
