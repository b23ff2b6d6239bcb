"""Hostile metadata gives an error of `sterna.errors` or a tokenizer that works, never another exception."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.errors import FormatError, ModelWarning, SternaError, UnsupportedError
from sterna.model.tokenizer import Tokenizer
from sterna.model.tokenizer.special import SpecialSplitter
from tests.tiny_vocabularies import byte_level_json, sentencepiece_metadata

KEYS = "model pre tokens token_type scores merges bos_token_id eos_token_id eot_token_id add_bos_token".split()
PLAIN: dict[str, Any] = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "llama-bpe",
    "tokenizer.ggml.tokens": [*"abcdefgh", "ab", "cd", "abcd", "<s>", "</s>"],
    "tokenizer.ggml.token_type": np.array([1] * 11 + [3, 3], dtype=np.int32),
    "tokenizer.ggml.merges": ["a b", "c d", "ab cd"],
    "tokenizer.ggml.bos_token_id": 11,
    "tokenizer.ggml.eos_token_id": 12,
}

BASES = {
    "bpe": PLAIN,
    "spm": sentencepiece_metadata(),
    "merged": PLAIN | {"tokenizer.ggml.model": "gemma4"},
    "unigram": sentencepiece_metadata() | {"tokenizer.ggml.model": "t5"},
    "wordpiece": PLAIN | {"tokenizer.ggml.model": "bert", "tokenizer.ggml.unknown_token_id": 0},
}


def test_the_plain_case_works() -> None:
    tokenizer = Tokenizer.from_gguf_metadata(PLAIN)
    assert tokenizer.encode("abcda") == [11, 10, 0]
    assert tokenizer.decode([11, 10, 0, 12]) == "abcda"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"model": "rwkv"}, UnsupportedError),
        ({"model": "bert"}, FormatError),
        ({"model": "t5"}, FormatError),
        ({"pre": "of-tomorrow"}, UnsupportedError),
        ({"model": 3}, FormatError),
        ({"pre": ["default"]}, FormatError),
        ({"tokens": []}, FormatError),
        ({"tokens": "abc"}, FormatError),
        ({"tokens": ["a", 1]}, FormatError),
        ({"tokens": ["a"] * 10_000_000}, FormatError),
        ({"token_type": np.zeros(3, dtype=np.int32)}, FormatError),
        ({"token_type": np.zeros(13, dtype=np.float32)}, FormatError),
        ({"token_type": "normal"}, FormatError),
        ({"merges": 7}, FormatError),
        ({"bos_token_id": "first"}, FormatError),
        ({"bos_token_id": True}, FormatError),
        ({"add_bos_token": 2}, FormatError),
    ],
)
def test_wrong_values_are_refused_in_a_sentence(change: dict[str, Any], error: type[SternaError]) -> None:
    start = time.monotonic()
    with pytest.raises(error, match=r"^[^\n]+\.$"):
        Tokenizer.from_gguf_metadata(PLAIN | {f"tokenizer.ggml.{name}": value for name, value in change.items()})
    assert time.monotonic() - start < 2


def test_an_unknown_pre_type_is_named() -> None:
    with pytest.raises(UnsupportedError, match="of-tomorrow"):
        Tokenizer.from_gguf_metadata(PLAIN | {"tokenizer.ggml.pre": "of-tomorrow"})


@pytest.mark.parametrize("merges", [["a x", "c d"], ["x y"], ["ab", ""], ["<s> a", "a  b", " "], ["a b"] * 3, ["a h"]])
def test_merges_of_unknown_tokens_are_dropped(merges: list[str]) -> None:
    tokenizer = Tokenizer.from_gguf_metadata(PLAIN | {"tokenizer.ggml.merges": merges})
    assert tokenizer.decode(tokenizer.encode("abcdah")) == "abcdah"


def long_gguf(path: Path, token: str) -> Tokenizer:
    return Tokenizer.from_gguf_metadata(PLAIN | {"tokenizer.ggml.tokens": [token, *PLAIN["tokenizer.ggml.tokens"][1:]]})


def long_sentencepiece(path: Path, token: str) -> Tokenizer:
    metadata = sentencepiece_metadata()
    return Tokenizer.from_gguf_metadata(
        metadata | {"tokenizer.ggml.tokens": [*metadata["tokenizer.ggml.tokens"][:-1], token]}
    )


def long_json(path: Path, token: str) -> Tokenizer:
    state = json.loads(byte_level_json())
    state["model"]["vocab"][token] = len(state["model"]["vocab"]) + 10
    path.write_text(json.dumps(state))
    return Tokenizer(path)


def long_tiktoken(path: Path, token: str) -> Tokenizer:
    words = [*(b"%d" % number for number in range(127_999)), token.encode()]
    path.write_bytes(b"".join(b"%s %d\n" % (base64.b64encode(word), rank) for rank, word in enumerate(words)))
    return Tokenizer(path)


@pytest.mark.parametrize("source", [long_gguf, long_sentencepiece, long_json, long_tiktoken])
def test_a_token_of_a_megabyte_is_refused_at_once(tmp_path: Path, source: Callable[[Path, str], Tokenizer]) -> None:
    start = time.monotonic()
    with pytest.raises(FormatError, match="has 1000000 characters"):
        source(tmp_path / "tokenizer", "a" * 1_000_000)
    assert time.monotonic() - start < 5


def test_many_lengths_of_special_tokens_do_not_slow_a_text_down() -> None:
    splitter = SpecialSplitter({"<" * length + "x": length for length in range(1, 2000)})
    start = time.monotonic()
    assert list(splitter.split("<" * 20_000)) == ["<" * 20_000]
    assert list(splitter.split("a<<<xb")) == ["a", 3, "b"]
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("token", [13, 2**63])
def test_ids_outside_the_vocabulary_count_as_absent_with_a_warning(token: int) -> None:
    change = {"tokenizer.ggml.bos_token_id": token, "tokenizer.ggml.eos_token_id": token}
    with pytest.warns(ModelWarning, match=f"bos token {token} is outside its vocabulary of 13 tokens"):
        check_without_bos(Tokenizer.from_gguf_metadata(PLAIN | change))


@pytest.mark.parametrize("token", [-1, 2**32 - 1])
def test_minus_one_is_no_token(token: int, recwarn: pytest.WarningsRecorder) -> None:
    change = {"tokenizer.ggml.bos_token_id": token, "tokenizer.ggml.eos_token_id": token}
    check_without_bos(Tokenizer.from_gguf_metadata(PLAIN | change))
    assert not recwarn.list


def check_without_bos(tokenizer: Tokenizer) -> None:
    assert tokenizer.bos_id is None
    assert tokenizer.encode("a") == [0]
    assert all(0 <= end < tokenizer.vocab_size for end in tokenizer.eos_ids)


@pytest.mark.parametrize("kind", [{}, {"model": "gemma4"}])
def test_a_vocabulary_without_merges_is_refused(kind: dict[str, str]) -> None:
    metadata = {name: value for name, value in PLAIN.items() if name != "tokenizer.ggml.merges"}
    with pytest.raises(FormatError, match=r"no merges \(tokenizer.ggml.merges\).*convert the model again"):
        Tokenizer.from_gguf_metadata(metadata | {f"tokenizer.ggml.{name}": value for name, value in kind.items()})


def test_a_vocabulary_of_bytes_alone_needs_no_merges() -> None:
    tokens = ["a", "b", *"cdefghijk", "<s>", "</s>"]
    metadata = PLAIN | {"tokenizer.ggml.tokens": tokens}
    assert Tokenizer.from_gguf_metadata(metadata | {"tokenizer.ggml.merges": []}).encode("ab") == [11, 0, 1]
    del metadata["tokenizer.ggml.merges"]
    assert Tokenizer.from_gguf_metadata(metadata).encode("ab") == [11, 0, 1]


def test_duplicate_and_empty_tokens_do_no_harm() -> None:
    tokens = ["a", "a", "", "", *"efgh", "ab", "cd", "abcd", "<s>", "<s>"]
    tokenizer = Tokenizer.from_gguf_metadata(PLAIN | {"tokenizer.ggml.tokens": tokens})
    assert tokenizer.decode(tokenizer.encode("aef")) == "aef"
    assert tokenizer.decode(range(13)) == "aaefghabcdabcd"


@pytest.mark.filterwarnings("ignore:.*outside its vocabulary")
@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_arbitrary_changes_end_in_a_sentence_or_a_working_tokenizer(base: dict[str, Any], data: st.DataObject) -> None:
    size = len(base["tokenizer.ggml.tokens"])
    values = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=5),
        st.lists(st.text(max_size=3), max_size=5),
        st.lists(st.text(alphabet="abcd <|>s/ø▁", max_size=4), min_size=size, max_size=size),
        st.lists(st.integers(0, 7), min_size=size, max_size=size).map(lambda v: np.array(v, dtype=np.int32)),
        st.lists(st.floats(width=32), min_size=size, max_size=size).map(lambda v: np.array(v, dtype=np.float32)),
    )
    changes = data.draw(st.dictionaries(st.sampled_from([f"tokenizer.ggml.{key}" for key in KEYS]), values, max_size=3))
    try:
        tokenizer = Tokenizer.from_gguf_metadata(base | changes)
    except SternaError as error:
        assert "\n" not in str(error)
        return
    ids = tokenizer.encode("abcd <s>ø▁", parse_special=True)
    assert isinstance(tokenizer.decode(ids), str)
    assert all(0 <= token < tokenizer.vocab_size for token in [*ids, *tokenizer.eos_ids])


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_changed_tokenizer_json_ends_the_same_way(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    state = json.loads(byte_level_json())
    node = state
    while isinstance(node, dict) and node:
        key = data.draw(st.sampled_from(sorted(node)))
        if not isinstance(node[key], dict) or data.draw(st.booleans()):
            node[key] = data.draw(
                st.one_of(st.none(), st.integers(-2, 2**40), st.text(max_size=3), st.just([]), st.just({}))
            )
            break
        node = node[key]
    path = tmp_path_factory.mktemp("json") / "tokenizer.json"
    path.write_text(json.dumps(state))
    try:
        tokenizer = Tokenizer(path)
        ids = tokenizer.encode("It was <|eot_id|>", parse_special=True)
        assert isinstance(tokenizer.decode(ids), str)
    except SternaError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("key", ["continuing_subword_prefix", "continuing_subword_prefi\\u0078"])
def test_a_prefix_that_cuts_merges_within_a_character_is_refused(tmp_path: Path, key: str) -> None:
    """The library aborts the process."""
    text = byte_level_json()
    path = tmp_path / "tokenizer.json"
    path.write_text(text.replace('"continuing_subword_prefix":null', f'"{key}":" "'))
    with pytest.raises(FormatError, match="right part lacks the continuing_subword_prefix"):
        Tokenizer(path)
