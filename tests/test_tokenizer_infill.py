"""Prompts with a gap, the ids of a single token, and which vocabularies have marks for gaps."""

from __future__ import annotations

from pathlib import Path

import pytest

from sterna import Tokenizer
from sterna.errors import UnsupportedError
from sterna.model.tokenizer.infill import infill_marks
from tests.tiny_vocabularies import byte_level_json


def test_the_parts_stand_behind_their_marks(tmp_path: Path) -> None:
    names = {"<|eot_id|>": "<fim_prefix>", "<|start_header_id|>": "<fim_suffix>", "<|end_header_id|>": "<fim_middle>"}
    text = byte_level_json()
    for old, new in names.items():
        text = text.replace(old, new)
    (tmp_path / "tokenizer.json").write_text(text)
    tokenizer = Tokenizer(tmp_path / "tokenizer.json")
    prefix, suffix, middle = (
        tokenizer.encode(name, add_special=False, parse_special=True)[0] for name in names.values()
    )
    before = tokenizer.encode("def hello(<fim_middle>", add_special=False)
    after = tokenizer.encode("):\n", add_special=False)
    bos = [tokenizer.bos_id] if tokenizer.add_bos else []
    assert tokenizer.encode_infill("def hello(<fim_middle>", "):\n") == [*bos, prefix, *before, suffix, *after, middle]
    assert middle not in before  # typed marks are text
    assert tokenizer.encode_infill("", "") == [*bos, prefix, suffix, middle]


def test_a_vocabulary_without_marks_says_so(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(byte_level_json())
    with pytest.raises(UnsupportedError, match="cannot fill in the middle"):
        Tokenizer(tmp_path / "tokenizer.json").encode_infill("a", "b")
    assert infill_marks({"<fim_prefix>": 1, "<fim_suffix>": 2}) is None
    assert infill_marks({"▁<PRE>": 1, "▁<MID>": 3, "▁<SUF>": 2}) == (1, 2, 3)


def test_the_bytes_of_single_tokens_join_to_the_text(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(byte_level_json())
    tokenizer = Tokenizer(tmp_path / "tokenizer.json")
    text = "für 🦙"
    ids = tokenizer.encode(text, add_special=False)
    assert b"".join(map(tokenizer.token_bytes, ids)) == text.encode()
    (end,) = tokenizer.encode("<|eot_id|>", add_special=False, parse_special=True)
    assert tokenizer.token_bytes(end) == b"<|eot_id|>"
    assert tokenizer.token_bytes(tokenizer.vocab_size) == tokenizer.token_bytes(-1) == b""
