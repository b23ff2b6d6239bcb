"""A vocabulary from a tiktoken file: one token a line, base64 of its bytes and its rank."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

import numpy as np

from sterna.errors import FormatError, UnsupportedError
from sterna.model.tokenizer.bpe import merges_by_rank
from sterna.model.tokenizer.gguf import LLAMA3_VOCAB_SIZE, PREFIX
from sterna.model.tokenizer.special import TokenType
from sterna.model.tokenizer.stream import to_byte_level
from sterna.model.tokenizer.vocabulary import check_lengths

LLAMA3_RANKS = 128000
MAX_BYTES = 1 << 22


def is_tiktoken(path: Path) -> bool:
    """Whether the file's first line is a base64 word and a number."""
    with path.open("rb") as file:
        words = file.readline(4096).split()
    try:
        return len(words) == 2 and words[1].isdigit() and base64.b64decode(words[0], validate=True) != b""
    except binascii.Error:
        return False


def read_tiktoken(path: Path) -> dict[str, Any]:
    """The Llama-3 vocabulary as GGUF metadata, with the 256 special tokens that the file leaves to its readers.

    Raises FormatError for a malformed file, UnsupportedError for another model's vocabulary: the format names neither
    a pre-tokenizer nor special tokens, and those of Llama-3 (meta-llama/llama3, tokenizer.py) fit no other.
    """
    if path.stat().st_size > MAX_BYTES:
        raise FormatError(f"{path} is larger than any tiktoken vocabulary.")
    tokens: list[str] = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            encoded, number_of_token = line.split()
            if int(number_of_token) != len(tokens):
                raise ValueError
            tokens.append(to_byte_level(base64.b64decode(encoded, validate=True)))
        except ValueError as error:
            raise FormatError(
                f"Line {number} of {path} is not the base64 of a token and its rank {len(tokens)}."
            ) from error
    if len(tokens) != LLAMA3_RANKS:
        raise UnsupportedError(
            f"{path} has {len(tokens)} tokens; of tiktoken files only Llama-3's ({LLAMA3_RANKS}) is known: "
            "convert the tokenizer to tokenizer.json."
        )
    check_lengths(tokens)
    rank = {text: token for token, text in enumerate(tokens)}
    special = _llama3_special()
    types = np.full(LLAMA3_VOCAB_SIZE, TokenType.NORMAL, dtype=np.int32)
    types[LLAMA3_RANKS:] = TokenType.CONTROL
    return {
        PREFIX + "model": "gpt2",
        PREFIX + "pre": "llama-bpe",
        PREFIX + "tokens": tokens + special,
        PREFIX + "token_type": types,
        PREFIX + "merges": [f"{left} {right}" for left, right in merges_by_rank(rank, rank)],
        PREFIX + "bos_token_id": LLAMA3_RANKS + special.index("<|begin_of_text|>"),
        PREFIX + "eos_token_id": LLAMA3_RANKS + special.index("<|end_of_text|>"),
        PREFIX + "eot_token_id": LLAMA3_RANKS + special.index("<|eot_id|>"),
        PREFIX + "add_bos_token": True,
    }


def _llama3_special() -> list[str]:
    named = {0: "begin_of_text", 1: "end_of_text", 6: "start_header_id", 7: "end_header_id", 9: "eot_id"}
    reserved = iter(range(LLAMA3_VOCAB_SIZE - LLAMA3_RANKS))
    names = [
        named.get(i) or f"reserved_special_token_{next(reserved)}" for i in range(LLAMA3_VOCAB_SIZE - LLAMA3_RANKS)
    ]
    return [f"<|{name}|>" for name in names]
