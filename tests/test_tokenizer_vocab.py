"""Tokenizers against every reference id in ../shared/vocab."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterna import errors
from sterna.model.tokenizer import Tokenizer
from tests.tiny_vocabularies import SHARED

VOCAB = SHARED / "vocab"
pytestmark = pytest.mark.skipif(not VOCAB.is_dir(), reason="../shared/vocab is not there (a fixture of the project)")
FILES = {name: f"ggml-vocab-{name}.gguf" for name in ("gpt-2", "falcon", "deepseek-llm", "llama-spm", "phi-3")}
FILES["llama-bpe"] = "llama3-tokenizer.model"


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Tokenizer]:
    return {name: Tokenizer(VOCAB / file) for name, file in FILES.items()}


@pytest.mark.parametrize("name", FILES)
def test_ids_equal_the_reference_and_come_back_as_text(tokenizers: dict[str, Tokenizer], name: str) -> None:
    tokenizer = tokenizers[name]
    texts = (VOCAB / f"ggml-vocab-{name}.gguf.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")[:-1]
    lines = (VOCAB / f"ggml-vocab-{name}.gguf.out").read_text().split("\n")[: len(texts)]
    assert len(texts) == len(lines) == 46
    for text, line in zip(texts, lines, strict=True):
        ids = tokenizer.encode(text, add_special=False)
        assert ids == [int(token) for token in line.split()]
        assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("name", FILES)
@given(st.text())
@settings(max_examples=60, deadline=None)
def test_any_text_comes_back(tokenizers: dict[str, Tokenizer], name: str, text: str) -> None:
    tokenizer = tokenizers[name]
    if name == "falcon":  # its vocabulary lacks some control bytes and those of the last planes
        text = "".join(character for character in text if " " <= character < "\U00080000")
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    stream = tokenizer.stream()
    assert "".join([*map(stream.push, ids), stream.flush()]) == text


@pytest.mark.parametrize("name", FILES)
def test_own_metadata_gives_an_equal_tokenizer(tokenizers: dict[str, Tokenizer], name: str) -> None:
    tokenizer = tokenizers[name]
    again = Tokenizer.from_gguf_metadata(tokenizer.gguf_metadata())
    text = (VOCAB / "ggml-vocab-gpt-2.gguf.inp").read_text()
    assert again.encode(text) == tokenizer.encode(text)
    assert (again.bos_id, again.eos_ids, again.vocab_size) == (
        tokenizer.bos_id,
        tokenizer.eos_ids,
        tokenizer.vocab_size,
    )


def test_special_tokens_of_llama3_are_only_text_when_typed(tokenizers: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers["llama-bpe"]
    assert (tokenizer.vocab_size, tokenizer.bos_id, tokenizer.eos_ids) == (128256, 128000, {128001, 128009})
    assert max(tokenizer.encode("<|eot_id|><|begin_of_text|>", add_special=False)) < 128000
    assert tokenizer.encode("<|eot_id|>", parse_special=True) == [128000, 128009]
    assert tokenizer.encode("Hi")[0] == 128000


def test_128k_tokens_load_from_metadata_in_time(tokenizers: dict[str, Tokenizer]) -> None:
    metadata = tokenizers["llama-bpe"].gguf_metadata()
    seconds = []
    for _ in range(5):  # the shortest time counts: other processes use the same caches and cores
        start = time.process_time()
        Tokenizer.from_gguf_metadata(metadata)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.6


def test_a_missing_pre_type_is_llama3s_for_its_vocabulary(tokenizers: dict[str, Tokenizer]) -> None:
    metadata = tokenizers["llama-bpe"].gguf_metadata()
    del metadata["tokenizer.ggml.pre"]
    text = "12345 don't"
    assert Tokenizer.from_gguf_metadata(metadata).encode(text) == tokenizers["llama-bpe"].encode(text)


def test_a_cut_tiktoken_file_is_refused_in_a_sentence(tmp_path) -> None:
    lines = (VOCAB / "llama3-tokenizer.model").read_bytes().splitlines(keepends=True)
    path = tmp_path / "tokenizer.model"
    path.write_bytes(b"".join(lines[:1000]))
    with pytest.raises(errors.UnsupportedError, match="1000 tokens"):
        Tokenizer(path)
    path.write_bytes(b"".join(lines[:10]) + b"!!!! 10\n")
    with pytest.raises(errors.FormatError, match="Line 11"):
        Tokenizer(path)
