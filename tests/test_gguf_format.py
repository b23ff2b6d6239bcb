"""Reading and writing GGUF: files are read back as they were written, and broken ones are refused."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sterna.errors import ArgumentError, FormatError, NotFoundError, SternaError, UnsupportedError
from sterna.files.gguf import read_gguf, write_gguf
from sterna.files.gguf.strings import STRIDE
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import Tensor

from . import helpers
from .mutate import Corpus

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMPY = st.sampled_from([np.uint8(7), np.int8(-7), np.uint16(9), np.int16(-9), np.float64(0.1), np.uint64(1 << 63)])
VALUES = st.one_of(
    TEXT,
    st.booleans(),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.floats(width=32, allow_nan=False),
    st.lists(TEXT, max_size=5),
    st.lists(st.integers(-(1 << 63), (1 << 63) - 1), min_size=1, max_size=5),
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=5),
    st.lists(st.booleans(), min_size=1, max_size=5),
    NUMPY,
)
IN_PLACE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def file_of(tmp_path: Path, *parts: bytes) -> Path:
    path = tmp_path / "file.gguf"
    path.write_bytes(b"".join(parts))
    return path


def header(tensors: int, keys: int, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


def entry(name: str, dims: list[int], type: int = 0, offset: int = 0) -> bytes:
    return string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, type, offset)


# Hypothesis also draws texts that it finds in the package; these two mean something to the reader.
@IN_PLACE
@given(
    metadata=st.dictionaries(
        TEXT.filter(lambda key: key not in ("general.alignment", "split.count")), VALUES, max_size=8
    )
)
def test_metadata_round_trip(tmp_path: Path, metadata: dict[str, Any]) -> None:
    path = tmp_path / "metadata.gguf"
    write_gguf(path, metadata, [])
    read = read_gguf(path).metadata
    assert list(read) == list(metadata)
    for key, value in metadata.items():
        given = read[key].tolist() if isinstance(read[key], np.ndarray) else read[key]
        assert given == value and (isinstance(value, bool) == isinstance(given, bool))


@IN_PLACE
@given(
    shapes=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), max_size=5),
    encodings=st.lists(
        st.sampled_from([encoding for encoding in Encoding if encoding.gguf_type is not None]), min_size=5, max_size=5
    ),
    alignment=st.sampled_from([8, 32, 4096]),
)
def test_tensor_round_trip(
    tmp_path: Path, shapes: list[tuple[int, int]], encodings: list[Encoding], alignment: int
) -> None:
    rng = np.random.default_rng(0)
    tensors = []
    for index, ((rows, blocks), encoding) in enumerate(zip(shapes, encodings, strict=False)):
        shape = (rows, blocks * encoding.block)
        data = rng.integers(0, 256, encoding.data_bytes(shape)).astype(np.uint8)
        tensors.append(Tensor(f"t{index}", shape, encoding, data, 0.75 if encoding is Encoding.I2_S else 1.0))
    path = tmp_path / "tensors.gguf"
    write_gguf(path, {"general.alignment": alignment}, tensors)
    read = read_gguf(path)
    assert helpers.dump_tensors(read.tensors) == helpers.dump_tensors({tensor.name: tensor for tensor in tensors})
    assert not any(tensor.data.flags.writeable for tensor in read.tensors.values())


def test_golden_file_is_written_again_byte_by_byte(tmp_path: Path) -> None:
    golden = helpers.DATA / helpers.GOLDEN["llama"][0]
    file = read_gguf(golden)
    write_gguf(tmp_path / "copy.gguf", file.metadata, file.tensors.values())
    assert (tmp_path / "copy.gguf").read_bytes() == golden.read_bytes()


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_gguf(path, {"a": 1}, [])
    before = path.read_bytes()
    good = helpers.float_tensor("x", np.ones((2, 3)))
    bad = [
        ({"a": object()}, []),
        ({"a": [[1], [2, 3]]}, []),
        ({"a": b"bytes"}, []),
        ({"general.alignment": 12}, []),
        ({}, [good, good]),
        ({}, [Tensor("x", (2, 3), Encoding.F32, good.data[:-1])]),
        ({}, [Tensor("x", (2, 3), Encoding.F32, good.data, 2.0)]),
        ({}, [Tensor("x" * 64, (2, 3), Encoding.F32, good.data)]),
        ({}, [Tensor("x", (2, 3), Encoding.I2_S, good.data)]),
        ({}, [Tensor("x", (2, 64), Encoding.I2_S, np.zeros(32, np.uint8), float("nan"))]),
    ]
    for metadata, tensors in bad:
        with pytest.raises(ArgumentError):
            write_gguf(path, metadata, tensors)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["model.gguf"]


ONE = b"\0" * 4096
BROKEN: dict[str, tuple[type[SternaError], str, Callable[[], list[bytes]]]] = {
    "empty": (FormatError, "too short", lambda: []),
    "other magic": (FormatError, "letters GGUF", lambda: [b"GGML" + header(0, 0)[4:], ONE]),
    "version 1": (UnsupportedError, "version 1", lambda: [header(0, 0, 1), ONE]),
    "big-endian": (UnsupportedError, "big-endian", lambda: [header(0, 0, 0x03000000), ONE]),
    "2^60 tensors": (FormatError, "claims", lambda: [header(1 << 60, 0), ONE]),
    "2^60 keys": (FormatError, "claims", lambda: [header(0, 1 << 60), ONE]),
    "name of 10 GB": (FormatError, "claims", lambda: [header(0, 1), struct.pack("<Q", 10**10), ONE]),
    "name that is no UTF-8": (FormatError, "UTF-8", lambda: [header(0, 1), struct.pack("<Q", 2), b"\xff\xfe", ONE]),
    "string of 10 GB": (
        FormatError,
        "past the end",
        lambda: [header(0, 1), string("k"), struct.pack("<IQ", 8, 10**10), ONE],
    ),
    "2^60 strings": (
        FormatError,
        "claims",
        lambda: [header(0, 1), string("k"), struct.pack("<IIQ", 9, 8, 1 << 60), ONE],
    ),
    "2^60 numbers": (
        FormatError,
        "claims",
        lambda: [header(0, 1), string("k"), struct.pack("<IIQ", 9, 4, 1 << 60), ONE],
    ),
    "array of arrays": (
        UnsupportedError,
        "type 9",
        lambda: [header(0, 1), string("k"), struct.pack("<IIQ", 9, 9, 1), ONE],
    ),
    "unknown value type": (
        UnsupportedError,
        "type 77",
        lambda: [header(0, 1), string("k"), struct.pack("<I", 77), ONE],
    ),
    "key twice": (
        FormatError,
        "occurs twice",
        lambda: [header(0, 2), *[string("k"), struct.pack("<II", 4, 1)] * 2, ONE],
    ),
    "alignment 24": (
        FormatError,
        "power of two",
        lambda: [header(0, 1), string("general.alignment"), struct.pack("<II", 4, 24), ONE],
    ),
    "tensor twice": (FormatError, "same name", lambda: [header(2, 0), entry("t", [4]), entry("t", [4], 0, 32), ONE]),
    "tensors overlap": (FormatError, "overlap", lambda: [header(2, 0), entry("t", [9]), entry("u", [4], 0, 32), ONE]),
    "5 dimensions": (FormatError, "5 dimensions", lambda: [header(1, 0), entry("t", [1] * 5), ONE]),
    "2^31 dimensions": (
        FormatError,
        "dimensions",
        lambda: [header(1, 0), string("t"), struct.pack("<I", 1 << 31), ONE],
    ),
    "dimension 0": (FormatError, "shape", lambda: [header(1, 0), entry("t", [4, 0]), ONE]),
    "dimensions overflow": (FormatError, "shape", lambda: [header(1, 0), entry("t", [1 << 33, 1 << 33]), ONE]),
    "past the end": (FormatError, "past the end", lambda: [header(1, 0), entry("t", [4096]), ONE]),
    "offset 2^63": (FormatError, "past the end", lambda: [header(1, 0), entry("t", [4], 0, 1 << 63), ONE]),
    "offset not aligned": (FormatError, "multiple of 32", lambda: [header(1, 0), entry("t", [4], 0, 4), ONE]),
    "part of a block": (FormatError, "blocks of 256", lambda: [header(1, 0), entry("t", [128, 2], 14), ONE]),
    "scale not finite": (FormatError, "scale", lambda: [header(1, 0), entry("t", [128], 36), b"\xff" * 4096]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_file_is_refused_at_once_and_by_name(tmp_path: Path, name: str) -> None:
    error, sentence, parts = BROKEN[name]
    path = file_of(tmp_path, *parts())
    start = time.perf_counter()
    with pytest.raises(error, match=sentence) as caught:
        read_gguf(path)
    assert time.perf_counter() - start < 0.1
    assert str(path) in str(caught.value) and str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_version_2_reads_and_foreign_tensor_types_are_named(tmp_path: Path) -> None:
    path = file_of(tmp_path, header(3, 0, 2), entry("a", [4]), entry("b", [256], 15, 32), entry("c", [9], 99, 64), ONE)
    file = read_gguf(path)
    assert list(file.tensors) == ["a"] and file.unsupported == {"b": "Q8_K", "c": "number 99"}


def test_strings_that_are_no_utf_8_do_not_spoil_a_vocabulary(tmp_path: Path) -> None:
    array = struct.pack("<IIQ", 9, 8, 2) + struct.pack("<Q", 2) + b"\xc3(" + string("ok")
    assert read_gguf(file_of(tmp_path, header(0, 1), string("k"), array, ONE)).metadata["k"] == ["\ufffd(", "ok"]


@pytest.mark.parametrize("count", [0, 1, STRIDE, STRIDE + 1, 100])
def test_strings_are_a_sequence(tmp_path: Path, count: int) -> None:
    expected = [f"{'é' * (i % 5)}{i}" for i in range(count)]
    write_gguf(tmp_path / "strings.gguf", {"k": expected, "after": 7}, [])
    metadata = read_gguf(tmp_path / "strings.gguf").metadata
    strings = metadata["k"]
    assert isinstance(strings, Sequence) and metadata["after"] == 7
    assert len(strings) == count and list(strings) == expected and strings == expected and expected == strings
    assert strings != [*expected, "more"] and strings != "text" and repr(strings) == f"Strings({expected!r})"
    assert [strings[i] for i in range(-count, count)] == 2 * expected and strings[1:-1] == expected[1:-1]
    for index in (count, -count - 1):
        with pytest.raises(IndexError):
            strings[index]
    write_gguf(tmp_path / "copy.gguf", metadata, [])
    assert (tmp_path / "copy.gguf").read_bytes() == (tmp_path / "strings.gguf").read_bytes()


def test_missing_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.gguf", tmp_path):
        with pytest.raises(NotFoundError, match="cannot be read"):
            read_gguf(path)


def test_vocabulary_of_128k_reads_fast(tmp_path: Path) -> None:
    tokens, merges = [f"t{i}" for i in range(128256)], [f"a{i} b{i}" for i in range(280000)]
    path = tmp_path / "vocabulary.gguf"
    write_gguf(path, {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": merges}, [])
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        metadata = read_gguf(path).metadata
        seconds.append(time.perf_counter() - start)
    assert metadata["tokenizer.ggml.tokens"] == tokens and metadata["tokenizer.ggml.merges"] == merges
    # 0.08 s on an idle core of 2023; the bound leaves room for a busy one.
    assert min(seconds) < 0.5


@pytest.mark.parametrize("model", [model for model, _ in helpers.GOLDEN.values()])
def test_mutated_headers_give_our_errors_or_a_file(tmp_path: Path, model: str) -> None:
    path, failed = tmp_path / "mutated.gguf", 0
    for data in Corpus(helpers.DATA / model).header_mutations(800):
        path.write_bytes(data)
        try:
            read_gguf(path)
        except SternaError as error:
            failed += 1
            assert str(error).endswith(".") and "\n" not in str(error)
    assert 300 < failed < 800
