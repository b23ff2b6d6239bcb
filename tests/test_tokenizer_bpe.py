"""Byte-level BPE: tokenizer.json, Hugging Face folders and GGUF metadata of one small trained vocabulary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.errors import ArgumentError, FormatError, NotFoundError, UnsupportedError
from sterna.model.tokenizer import Tokenizer
from sterna.model.tokenizer.stream import from_byte_level, to_byte_level
from tests.tiny_vocabularies import SPECIAL, TEXT, byte_level_json


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("bpe") / "tokenizer.json"
    path.write_text(byte_level_json())
    return Tokenizer(path)


@pytest.fixture(scope="module")
def from_gguf(tokenizer: Tokenizer) -> Tokenizer:
    return Tokenizer.from_gguf_metadata(tokenizer.gguf_metadata())


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_any_text_comes_back_and_all_sources_agree(tokenizer: Tokenizer, from_gguf: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert ids[0] == tokenizer.bos_id
    assert tokenizer.decode(ids) == text
    assert from_gguf.encode(text) == ids
    assert from_gguf.decode(ids) == text


@pytest.mark.parametrize("text", TEXT)
def test_ids_are_those_of_the_library(tokenizer: Tokenizer, text: str) -> None:
    library = tokenizers.Tokenizer.from_str(byte_level_json())
    assert tokenizer.encode(text) == library.encode(text).ids
    assert len(tokenizer.encode(text)) < len(text.encode())


@given(st.lists(st.integers(0, 405)))
@settings(max_examples=200, deadline=None)
def test_a_stream_is_the_decoded_whole(tokenizer: Tokenizer, from_gguf: Tokenizer, ids: list[int]) -> None:
    for each in (tokenizer, from_gguf):
        stream = each.stream()
        pieces = [*map(stream.push, ids), stream.flush()]
        assert "".join(pieces) == each.decode(ids)


def test_a_stream_never_gives_half_a_character(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("🫠", add_special=False)
    assert len(ids) > 1
    stream = tokenizer.stream()
    assert [stream.push(token) for token in ids] == [""] * (len(ids) - 1) + ["🫠"]
    assert stream.flush() == ""
    stream.push(ids[0])
    assert stream.flush() == "\ufffd"


@pytest.mark.parametrize("text", [*SPECIAL, "a<|eot_id|>b", "<|eot_id|>" * 3])
def test_typed_special_tokens_stay_text(tokenizer: Tokenizer, from_gguf: Tokenizer, text: str) -> None:
    for each in (tokenizer, from_gguf):
        special = set(each.encode("".join(SPECIAL), add_special=False, parse_special=True))
        assert len(special) == len(SPECIAL)
        ids = each.encode(text, add_special=False)
        assert not special & set(ids)
        assert each.decode(ids) == text


def test_user_defined_tokens_are_found_in_text(tokenizer: Tokenizer, from_gguf: Tokenizer) -> None:
    think = tokenizer.encode("<think>", add_special=False)
    assert len(think) == 1
    assert from_gguf.encode("<think>", add_special=False) == think
    assert from_gguf.decode(think) == tokenizer.decode(think) == "<think>"


def test_ends_of_text_are_a_set(tokenizer: Tokenizer, from_gguf: Tokenizer) -> None:
    ends = set(tokenizer.encode("<|end_of_text|><|eot_id|>", add_special=False, parse_special=True))
    assert tokenizer.eos_ids == from_gguf.eos_ids == ends


def test_special_tokens_are_skipped_unless_wanted(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("Hi<|eot_id|>", parse_special=True)
    assert tokenizer.decode(ids) == "Hi"
    assert tokenizer.decode(ids, skip_special=False) == "<|begin_of_text|>Hi<|eot_id|>"


def test_ids_outside_the_vocabulary_are_refused(tokenizer: Tokenizer) -> None:
    for token in (-1, tokenizer.vocab_size):
        with pytest.raises(ArgumentError, match="outside the vocabulary"):
            tokenizer.decode([token])


def test_a_stream_has_no_text_for_ids_outside_the_vocabulary(tokenizer: Tokenizer) -> None:
    stream = tokenizer.stream()
    ids = tokenizer.encode("a🫠", add_special=False)
    pieces = [stream.push(token) for token in [*ids[:2], tokenizer.vocab_size, -1, *ids[2:]]]
    assert "".join([*pieces, stream.flush()]) == "a🫠"


def test_lone_surrogates_become_replacement_characters(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"


def write_folder(folder: Path, **files: object) -> Path:
    (folder / "tokenizer.json").write_text(byte_level_json(bos=False))
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_a_folder_brings_its_configs(tmp_path: Path, tokenizer: Tokenizer) -> None:
    a = tokenizer.encode("a", add_special=False)[0]
    folder = write_folder(
        tmp_path,
        tokenizer_config={
            "bos_token": {"content": "<|begin_of_text|>"},
            "eos_token": "<|end_of_text|>",
            "add_bos_token": True,
            "chat_template": [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "hello"}],
        },
        generation_config={"eos_token_id": [a, 10**9, "x"]},
    )
    read = Tokenizer(folder)
    assert read.chat_template == "hello"
    assert read.encode("b") == tokenizer.encode("b")
    assert read.eos_ids == tokenizer.eos_ids | {a}
    again = Tokenizer.from_gguf_metadata(read.gguf_metadata())
    assert (again.chat_template, again.bos_id, again.eos_ids) == ("hello", read.bos_id, read.eos_ids)
    (folder / "chat_template.jinja").write_text("from a file")
    assert Tokenizer(folder).chat_template == "from a file"


def test_without_configs_there_is_no_bos(tmp_path: Path) -> None:
    read = Tokenizer(write_folder(tmp_path))
    assert read.bos_id is None
    assert read.encode("") == []


def test_what_is_no_tokenizer_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="cannot be read"):
        Tokenizer(tmp_path / "nothing")
    with pytest.raises(FormatError, match="has no tokenizer"):
        Tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00")
    with pytest.raises(FormatError, match="SentencePiece model"):
        Tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": 1}')
    with pytest.raises(FormatError, match="no tokenizer.json"):
        Tokenizer(tmp_path)
    (tmp_path / "noise").write_bytes(b"\x00\x01\x02\x03")
    with pytest.raises(UnsupportedError, match="no tokenizer that Sterna reads"):
        Tokenizer(tmp_path / "noise")


def test_an_unnamed_pre_tokenizer_cannot_go_into_gguf(tmp_path: Path) -> None:
    state = json.loads(byte_level_json())
    state["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\w+|\W+"
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(state))
    tokenizer = Tokenizer(path)
    assert tokenizer.decode(tokenizer.encode("any text")) == "any text"
    with pytest.raises(UnsupportedError, match="no name in GGUF"):
        tokenizer.gguf_metadata()


@given(st.binary())
def test_the_byte_alphabet_inverts(data: bytes) -> None:
    assert from_byte_level(to_byte_level(data)) == data
    assert len(to_byte_level(data)) == len(data)
