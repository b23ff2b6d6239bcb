"""BERT's WordPiece as a `tokenizers` model, from tokens as GGUF spells them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sterna.model.tokenizer.bpe import library_errors
from sterna.model.tokenizer.special import TokenType, ids_of

if TYPE_CHECKING:
    import tokenizers

BEGINS_A_WORD, GOES_ON = "▁", "##"
"""GGUF marks the pieces that begin a word, BERT's own files those that go on with one."""


def wordpiece(
    tokens: Sequence[str], types: np.ndarray, unknown: int, lowercase: bool, strip_accents: bool
) -> tokenizers.Tokenizer:
    """The longest piece first, word by word; a word that pieces do not make is the token `unknown`."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    vocab = {as_bert_spells(tokens[token]): token for token in ids_of(types, TokenType.NORMAL) if tokens[token]}
    with library_errors("The vocabulary is none that WordPiece can use"):
        encoder = Tokenizer(models.WordPiece(vocab | {tokens[unknown]: unknown}, unk_token=tokens[unknown]))
    encoder.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=strip_accents)
    encoder.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return encoder


def as_bert_spells(token: str) -> str:
    return token[1:] if token.startswith(BEGINS_A_WORD) else GOES_ON + token


def as_gguf_spells(token: str) -> str:
    return token[2:] if token.startswith(GOES_ON) else BEGINS_A_WORD + token
