"""SentencePiece's Unigram as a `tokenizers` model: T5's vocabularies and XLM-RoBERTa's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sterna.errors import FormatError
from sterna.model.tokenizer.bpe import library_errors
from sterna.model.tokenizer.special import TokenType, ids_of

if TYPE_CHECKING:
    import tokenizers


MAX_REPLACEMENT_BYTES = 256
"""Unicode's longest (NFKC of U+FDFA) has 33."""


def unigram(
    tokens: Sequence[str],
    types: np.ndarray,
    scores: Sequence[float],
    charsmap: bytes,
    remove_extra_whitespaces: bool,
    space_prefix: bool,
) -> tokenizers.Tokenizer:
    """The cut of a text whose pieces have the highest sum of scores.

    `charsmap`: the rules that change a text first, as SentencePiece stores them (`precompiled_charsmap`); empty for
    none. The library applies them to a letter and its marks at once, as it does for every tokenizer.json, and
    SentencePiece to one character after the other, so a mark after a changed letter may get lost. Control tokens and
    unused ones never come from text.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers

    unknown, fallback = ids_of(types, TokenType.UNKNOWN), ids_of(types, TokenType.BYTE)
    if not unknown:
        raise FormatError("A Unigram vocabulary needs a token of the type unknown (tokenizer.ggml.token_type).")
    best = max((scores[token] for token in ids_of(types, TokenType.NORMAL)), default=0.0)
    # A place in the list is an id. What must not come from text gets a space in it, as no text has when it is cut.
    pieces = [(f" {token}", 0.0) for token in range(len(tokens))]
    for token in ids_of(types, TokenType.NORMAL, TokenType.USER_DEFINED, TokenType.BYTE):
        text = tokens[token].replace(" ", "▁")
        score = len(text) * best - 0.1 if types[token] == TokenType.USER_DEFINED else scores[token]
        if text:
            pieces[token] = (text, score)
    # The size of a trie, the trie, and what it leads to: texts that end in a zero byte.
    replacements = charsmap[4 + int.from_bytes(charsmap[:4], "little") :].split(b"\0")
    if max(map(len, replacements)) > MAX_REPLACEMENT_BYTES:
        raise FormatError(
            "The rules of the file (precompiled_charsmap) would make a text longer than any language does."
        )
    with library_errors("The vocabulary is none that Unigram can use"):
        encoder = Tokenizer(models.Unigram(pieces, unk_id=unknown[0], byte_fallback=bool(fallback)))
        steps: list[normalizers.Normalizer] = [normalizers.Precompiled(charsmap)] if charsmap else []
    if remove_extra_whitespaces:
        # Where no space is put before a text, its own come as "▁" already.
        steps += [normalizers.Replace(Regex(r"\A[ ▁]+|[ ▁]+\z"), ""), normalizers.Replace(Regex("[ ▁]{2,}"), " ")]
    steps += [normalizers.Prepend(" ")] if space_prefix else []
    encoder.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    return encoder
