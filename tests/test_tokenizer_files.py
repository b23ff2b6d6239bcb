"""Vocabularies written as the files of a Hugging Face folder, and read back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sterna.model.tokenizer import Tokenizer

from .helpers import shared
from .tiny_vocabularies import SPECIAL, TEXT, byte_level_json, sentencepiece_metadata

TEXTS = [*TEXT, "Hello  world", " leading", "a\n\nb", "für 🦙", "<s> x </s> <|eot_id|>", "don't 12345", ""]


def rewritten(tokenizer: Tokenizer, folder: Path) -> Tokenizer:
    for name, data in tokenizer.hf_files(4096).items():
        (folder / name).write_bytes(data)
    return Tokenizer(folder)


def assert_equal(first: Tokenizer, second: Tokenizer) -> None:
    for text in TEXTS:
        ids = first.encode(text)
        assert ids == second.encode(text)
        assert first.encode(text, parse_special=True) == second.encode(text, parse_special=True)
        assert first.decode(ids, skip_special=False) == second.decode(ids, skip_special=False)
    assert (first.bos_id, first.add_bos, first.eos_ids) == (second.bos_id, second.add_bos, second.eos_ids)
    assert first.vocab_size == second.vocab_size and first.chat_template == second.chat_template


def byte_level(folder: Path) -> Tokenizer:
    (folder / "tokenizer.json").write_text(byte_level_json())
    config = {"eos_token": SPECIAL[2], "chat_template": "{{ bos_token }}{{ messages[0]['content'] }}"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return Tokenizer.from_gguf_metadata(Tokenizer(folder).gguf_metadata())


def test_byte_level_vocabulary_survives_a_folder_and_gguf(tmp_path: Path) -> None:
    tokenizer = byte_level(tmp_path)
    (tmp_path / "new").mkdir()
    again = rewritten(tokenizer, tmp_path / "new")
    assert_equal(tokenizer, again)
    assert_equal(tokenizer, Tokenizer.from_gguf_metadata(again.gguf_metadata()))


def test_sentencepiece_vocabulary_survives_a_folder_and_gguf(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_gguf_metadata(sentencepiece_metadata())
    again = rewritten(tokenizer, tmp_path)
    assert_equal(tokenizer, again)
    metadata = again.gguf_metadata()
    assert metadata["tokenizer.ggml.model"] == "llama" and metadata["tokenizer.ggml.unknown_token_id"] == 0
    assert_equal(tokenizer, Tokenizer.from_gguf_metadata(metadata))


def test_special_tokens_in_the_middle_of_a_vocabulary_keep_their_ids(tmp_path: Path) -> None:
    metadata = byte_level(tmp_path).gguf_metadata()
    tokens, types = metadata["tokenizer.ggml.tokens"], np.array(metadata["tokenizer.ggml.token_type"])
    # The last token, a special one, changes places with an ordinary one.
    first = len(tokens) - 2
    tokens[5], tokens[first] = tokens[first], tokens[5]
    types[[5, first]] = types[[first, 5]]
    metadata |= {"tokenizer.ggml.token_type": types}
    tokenizer = Tokenizer.from_gguf_metadata(metadata)
    (tmp_path / "new").mkdir()
    assert_equal(tokenizer, rewritten(tokenizer, tmp_path / "new"))


def test_transformers_reads_the_files(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    tokenizer = byte_level(tmp_path)
    (tmp_path / "new").mkdir()
    rewritten(tokenizer, tmp_path / "new")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "new")
    for text in TEXT:
        assert theirs(text).input_ids == tokenizer.encode(text)
    assert theirs.chat_template == tokenizer.chat_template and theirs.eos_token == SPECIAL[2]


@pytest.mark.parametrize("name", ["llama-spm", "gpt-2", "falcon", "deepseek-llm", "phi-3"])
def test_published_vocabularies_survive(tmp_path: Path, name: str) -> None:
    tokenizer = Tokenizer(shared("vocab", f"ggml-vocab-{name}.gguf"))
    assert_equal(tokenizer, rewritten(tokenizer, tmp_path))
