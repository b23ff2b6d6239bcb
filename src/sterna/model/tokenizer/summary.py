"""Facts that describe a tokenizer to people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sterna.errors import UnsupportedError
from sterna.model.tokenizer.special import SPECIAL_TYPES, ids_of

if TYPE_CHECKING:
    from sterna.model.tokenizer import Tokenizer


SENTENCEPIECE = {"BPE": "SentencePiece BPE", "Unigram": "SentencePiece Unigram"}
"""By the library's name of a model; other models are called as the library calls them."""


def summarize_tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
    """JSON-ready facts: `type`, `pre` (GGUF's name of the pre-tokenizer, None where it has none), `vocab_size`,
    `special_tokens` (how many there are), `bos`, `add_bos`, and the texts of `eos`."""
    vocabulary = tokenizer._vocabulary
    kind = type(vocabulary.encoder.model).__name__
    try:
        pre = tokenizer.gguf_metadata().get("tokenizer.ggml.pre")
    except UnsupportedError:
        pre = None
    return {
        "type": "byte-level BPE" if vocabulary.byte_level else SENTENCEPIECE.get(kind, kind),
        "pre": pre,
        "vocab_size": tokenizer.vocab_size,
        "special_tokens": len(ids_of(vocabulary.types, *SPECIAL_TYPES)),
        "bos": None if tokenizer.bos_id is None else vocabulary.tokens[tokenizer.bos_id],
        "add_bos": tokenizer.add_bos,
        "eos": [vocabulary.tokens[token] for token in sorted(tokenizer.eos_ids)],
    }
