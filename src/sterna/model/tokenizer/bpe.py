"""Byte-level BPE and SentencePiece's BPE as `tokenizers` models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from sterna.errors import FormatError
from sterna.model.tokenizer.pre import Pre
from sterna.model.tokenizer.special import TokenType, ids_of

if TYPE_CHECKING:
    import tokenizers


def byte_level(
    vocab: dict[str, int], merges: Iterable[str], pre: Pre, user_defined: Sequence[str]
) -> tokenizers.Tokenizer:
    """GPT-2's byte-level BPE over `vocab`, with merges written "left right"; merges of unknown tokens are dropped."""
    from tokenizers import Regex, pre_tokenizers

    encoder = _encoder(vocab, _pairs(merges), ignore_merges=pre.ignore_merges)
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in pre.patterns]
    alphabet = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    encoder.pre_tokenizer = pre_tokenizers.Sequence([*splits, alphabet])
    _add(encoder, user_defined)
    return encoder


def sentencepiece(
    tokens: Sequence[str],
    types: np.ndarray,
    unknown: str | None,
    scores: Sequence[float] | None = None,
    merges: Iterable[str] = (),
) -> tokenizers.Tokenizer:
    """SentencePiece's BPE: the pair whose piece scores highest merges first, the leftmost of equals.

    Without scores, the pairs of `merges` ("left right") merge in that order. The spaces of a text must already be "▁".
    Characters without a piece fall back to byte pieces, else to `unknown`.
    """
    ordinary = ids_of(types, TokenType.NORMAL, TokenType.USER_DEFINED, TokenType.UNUSED)
    mergeable = {tokens[token].replace(" ", "▁"): token for token in ordinary if tokens[token]}
    vocab = mergeable | {tokens[token]: token for token in ids_of(types, TokenType.BYTE)}
    if unknown is not None:
        vocab.setdefault(unknown, tokens.index(unknown))
    pairs: Iterable[tuple[str, str]]
    if scores is None:
        pairs = _pairs(merges)
    else:
        pairs = merges_by_rank(mergeable, {text: -scores[token] for text, token in mergeable.items()})
    encoder = _encoder(vocab, pairs, byte_fallback=True, unk_token=unknown)
    _add(encoder, [text for text, token in mergeable.items() if types[token] == TokenType.USER_DEFINED])
    return encoder


@contextmanager
def library_errors(sentence: str) -> Iterator[None]:
    """Raises FormatError for whatever goes wrong in the `tokenizers` library, panics of its Rust code included."""
    try:
        yield
    except BaseException as error:
        # The panic's class is no Exception and has no public name.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise FormatError(f"{sentence}: {' '.join(str(error).split())[:200].rstrip('.')}.") from error


def merges_by_rank(vocab: Mapping[str, int], rank: Mapping[str, float]) -> list[tuple[str, str]]:
    """All (left, right) whose concatenation is in `vocab`, by the rank of the concatenation: lower merges first.

    tiktoken and SentencePiece choose in this way and store no merges. With them all ways to make one piece rank
    equally, and the leftmost in the text merges first. A list of merges has to order these ways: with the longest left
    part first, the leftmost still merges first in runs of one character.
    """
    return [
        (left, right)
        for text in sorted(vocab, key=lambda text: (rank[text], vocab[text]))
        for cut in range(len(text) - 1, 0, -1)
        if (right := text[cut:]) in vocab and (left := text[:cut]) in vocab
    ]


def _pairs(merges: Iterable[str]) -> Iterator[tuple[str, str]]:
    return ((left, right) for left, _, right in (merge.partition(" ") for merge in merges))


def _encoder(vocab: dict[str, int], merges: Iterable[tuple[str, str]], **options: object) -> tokenizers.Tokenizer:
    from tokenizers import Tokenizer, models

    def build(pairs: list[tuple[str, str]]) -> tokenizers.Tokenizer:
        with library_errors("The vocabulary is none that BPE can use"):
            return Tokenizer(models.BPE(vocab=vocab, merges=pairs, **options))

    # Real vocabularies have two or three merges a token; merges beyond four a token are checked before they take
    # memory.
    stream = iter(merges)
    pairs = list(islice(stream, 4 * len(vocab)))
    pairs += ((left, right) for left, right in stream if _is_known(vocab, left, right))
    try:
        return build(pairs)
    except FormatError:  # the library stops at a merge of unknown tokens; published files have some
        return build([(left, right) for left, right in pairs if _is_known(vocab, left, right)])


def _is_known(vocab: Mapping[str, int], left: str, right: str) -> bool:
    return left in vocab and right in vocab and left + right in vocab


def _add(encoder: tokenizers.Tokenizer, texts: Sequence[str]) -> None:
    """Adds tokens that are found in any text before BPE begins; they keep the ids that they have in the vocabulary."""
    from tokenizers import AddedToken

    encoder.add_tokens([AddedToken(text, normalized=False) for text in texts if text])
