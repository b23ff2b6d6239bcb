"""A vocabulary from SentencePiece's own `tokenizer.model`: a protobuf message, read field by field.

Message and field numbers are those of sentencepiece_model.proto (google/sentencepiece, 0.2).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sterna.errors import FormatError, UnsupportedError
from sterna.model.tokenizer.gguf import MAX_TOKENS, PREFIX
from sterna.model.tokenizer.hf_settings import Settings
from sterna.model.tokenizer.special import TokenType
from sterna.model.tokenizer.vocabulary import check_lengths

MAX_BYTES = 1 << 26
PIECES, TRAINER, NORMALIZER = 1, 2, 3
UNIGRAM, BPE = 1, 2
"""`TrainerSpec.model_type`."""
PRECOMPILED_CHARSMAP = 2
"""The field of NormalizerSpec."""


def read_sentencepiece(path: Path, settings: Settings) -> dict[str, Any]:
    """The vocabulary as GGUF metadata; `settings` tell of added tokens, BOS and EOS.

    Raises FormatError for a malformed file, UnsupportedError for models that are neither BPE nor Unigram, and for BPE
    whose normaliser changes text.
    """
    if path.stat().st_size > MAX_BYTES:
        raise FormatError(f"{path} is larger than any SentencePiece model.")
    pieces: list[dict[int, Any]] = []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    try:
        for field, value in _fields(path.read_bytes()):
            if field == PIECES:
                pieces.append(dict(_fields(value)))
            elif field == TRAINER:
                trainer = dict(_fields(value))
            elif field == NORMALIZER:
                normalizer = dict(_fields(value))
        tokens = [piece[1].decode() for piece in pieces]
        scores = [struct.unpack("<f", piece.get(2, b"\0\0\0\0"))[0] for piece in pieces]
        types = [int(piece.get(3, TokenType.NORMAL)) for piece in pieces]
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise FormatError(f"{path} is neither a tiktoken file nor a SentencePiece model.") from error
    charsmap = normalizer.get(PRECOMPILED_CHARSMAP, b"")
    if not 0 < len(tokens) <= MAX_TOKENS or not set(types) <= set(TokenType) or not isinstance(charsmap, bytes):
        raise FormatError(f"{path} is no SentencePiece model with 1 to {MAX_TOKENS} pieces.")
    kind = trainer.get(3, UNIGRAM)
    if kind not in (UNIGRAM, BPE):
        raise UnsupportedError(
            f"{path} is neither a BPE nor a Unigram model, which alone Sterna reads of SentencePiece."
        )
    # Numbers as in NormalizerSpec: remove_extra_whitespaces, escape_whitespaces.
    removes_spaces = bool(normalizer.get(4, 1))
    if not normalizer.get(5, 1) or (kind == BPE and (charsmap or removes_spaces)):
        raise UnsupportedError(f"{path} normalises text before it is cut, which Sterna does not do.")
    check_lengths(tokens)
    unknown, bos, eos = (_signed(trainer.get(field, default)) for field, default in ((40, 0), (41, 1), (42, 2)))
    _append_added(settings, tokens, scores, types)
    keys: dict[str, Any] = {
        "model": "llama" if kind == BPE else "t5",
        "tokens": tokens,
        "scores": np.array(scores, np.float32),
        "token_type": np.array(types, np.int32),
        "unknown_token_id": unknown,
        "bos_token_id": bos,
        "eos_token_id": eos,
        "add_space_prefix": bool(normalizer.get(3, 1)),
        "add_bos_token": settings.config.get("add_bos_token", True) is True,
        "add_eos_token": settings.config.get("add_eos_token", False) is True,
    }
    if kind == UNIGRAM:
        keys |= {"precompiled_charsmap": np.frombuffer(charsmap, np.uint8), "remove_extra_whitespaces": removes_spaces}
    return {PREFIX + name: value for name, value in keys.items()}


def _append_added(settings: Settings, tokens: list[str], scores: list[float], types: list[int]) -> None:
    """Tokens beyond the model's own, as tokenizer_config.json (1bitLLM's `<pad>`) or added_tokens.json list them."""
    for token, (text, special) in sorted(_added(settings).items()):
        if token < len(tokens):
            continue
        if token > len(tokens) + 1024:
            raise FormatError(f"The added token {token} lies far beyond the vocabulary of {len(tokens)} pieces.")
        gap = token - len(tokens)
        tokens += [*(f"[PAD{len(tokens) + i}]" for i in range(gap)), text]
        scores += [0.0] * (gap + 1)
        types += [TokenType.UNUSED] * gap
        types.append(TokenType.CONTROL if special else TokenType.USER_DEFINED)


def _added(settings: Settings) -> dict[int, tuple[str, bool]]:
    """Text and whether it is special, by id."""
    added = {token: (text, False) for text, token in settings.added.items()}
    table = settings.config.get("added_tokens_decoder")
    for key, entry in table.items() if isinstance(table, dict) else ():
        if not (key.isdecimal() and isinstance(entry, dict) and isinstance(entry.get("content"), str)):
            raise FormatError("The added_tokens_decoder of tokenizer_config.json is no table of tokens.")
        added[int(key[:9])] = (entry["content"], entry.get("special") is True)
    return added


def _signed(value: int) -> int:
    """An int32 field, which protobuf sign-extends to 64 bits."""
    return value - (1 << 64) if value >> 63 else value


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of a protobuf message's fields: integers, or bytes. Raises ValueError where the message is cut
    off."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = 0
        for shift in range(0, 70, 7):
            if at >= len(data):
                break
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("a varint without end")

    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            yield key >> 3, varint()
            continue
        size = {1: 8, 5: 4}[kind] if kind != 2 else varint()
        if size > len(data) - at:
            raise ValueError("a field beyond the end")
        yield key >> 3, data[at : at + size]
        at += size
