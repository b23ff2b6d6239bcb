"""Files with TL1 and TL2: recognised by their sizes, converted to exactly the codes and scales they hold, run."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterna import LLM
from sterna.checkpoint import open_checkpoint
from sterna.checkpoint.convert import convert
from sterna.cli.info import describe
from sterna.errors import ArgumentError, FormatError, UnsupportedError
from sterna.files.gguf import read_gguf, write_gguf
from sterna.files.gguf.by_size import AMBIGUOUS, find_by_size
from sterna.tensor.decode import ternary_codes
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import Tensor
from sterna.tensor.ternary import untiled
from sterna.ternary import pack_i2s, unpack_i2s
from sterna.ternary.tl import TL1_SETUP_TILES, TL2_TILES, pack_tl1, tl2_padded_bytes

from . import helpers
from .tl_files import Raw, in_tl, padded, tl_data, tl_tensors, write_raw

LARGE = replace(
    helpers.TINY,
    architecture="bitnet",
    activation="silu",
    hidden_size=1536,
    intermediate_size=4096,
    num_layers=1,
    num_heads=16,
    num_kv_heads=16,
    head_dim=96,
)
"""One layer in the shape of bitnet_b1_58-large."""
Q = "blk.0.attn_q.weight"


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return helpers.tiny_tensors(LARGE)


@pytest.fixture(scope="module")
def q(tensors: dict[str, Tensor]) -> Tensor:
    return tensors[Q]


def write_model(path: Path, tensors: list[Raw]) -> Path:
    return write_raw(path, helpers.gguf_metadata(LARGE), tensors)


@pytest.mark.parametrize(
    ("number", "in_table"), [(38, False), (39, False), (42, True)], ids=["TL1", "TL2", "TL2 of a fork"]
)
def test_conversion_gives_exactly_the_codes_and_scales(
    tmp_path: Path, tensors: dict[str, Tensor], number: int, in_table: bool
) -> None:
    path = write_model(tmp_path / "tl.gguf", in_tl(tensors, number, in_table))
    report = convert(path, tmp_path / "i2_s.gguf", type="i2_s", verify=True)
    assert report.types["i2_s"] == 7 and report.scale_change == 0 and not report.notes
    assert helpers.dump_tensors(read_gguf(report.path).tensors) == helpers.dump_tensors(tensors)
    # TL cannot be written: without a type, its matrices become I2_S, too.
    assert convert(path, tmp_path / "same.gguf").types["i2_s"] == 7


def test_converts_to_other_ternary_types_and_folders(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    path = write_model(tmp_path / "tl.gguf", in_tl(tensors, 39))
    assert convert(path, tmp_path / "tq2_0.gguf", type="tq2_0", verify=True).types["tq2_0"] == 7
    folder = convert(path, tmp_path / "folder", verify=True).path
    codes, scale = ternary_codes(open_checkpoint(folder).load().tensors[Q])
    assert np.array_equal(codes, unpack_i2s(tensors[Q].data, tensors[Q].shape)) and scale == tensors[Q].scale


def test_runs_as_i2_s_does(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    write_gguf(tmp_path / "i2_s.gguf", helpers.gguf_metadata(LARGE), tensors.values())
    expected = LLM(tmp_path / "i2_s.gguf", threads=1).logits([1, 2, 3])
    for number in (38, 39):
        path = write_model(tmp_path / f"{number}.gguf", in_tl(tensors, number))
        assert np.array_equal(LLM(path, threads=1).logits([1, 2, 3]), expected)


def test_info_names_the_type(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    write_gguf(tmp_path / "i2_s.gguf", helpers.gguf_metadata(LARGE), tensors.values())
    expected = describe(open_checkpoint(tmp_path / "i2_s.gguf").load())
    facts = describe(open_checkpoint(write_model(tmp_path / "tl2.gguf", in_tl(tensors, 39))).load())
    assert {t["type"] for t in facts["tensors"] if len(t["shape"]) > 1} == {"f16", "tl2"}
    assert facts["ternary_parameters"] == expected["ternary_parameters"]
    assert facts["zero_fraction"] == expected["zero_fraction"]
    assert facts["bits_per_weight"] < expected["bits_per_weight"]


def test_a_scale_in_the_table_goes_before_what_follows_the_codes(tmp_path: Path, q: Tensor) -> None:
    raw = tl_tensors(q, 38)
    path = write_raw(tmp_path / "tl.gguf", {}, [*raw, Raw(f"{Q}_scale", (1,), 0, struct.pack("<f", 0.25))])
    file = read_gguf(path)
    assert file.tensors[Q].scale == 1 and file.tensors[f"{Q}_scale"].shape == (1,)
    assert read_gguf(write_raw(path, {}, raw)).tensors[Q].scale == q.scale


def test_tiles_of_setup_are_read_on_request(tmp_path: Path) -> None:
    shape = (1024, 4096)
    codes = np.random.default_rng(0).integers(-1, 2, shape).astype(np.int8)
    tensor = Tensor("w", shape, Encoding.TL1, pack_tl1(codes, TL1_SETUP_TILES[shape]), 0.5)
    assert helpers.dump_tensors({"w": untiled(tensor, "setup")}) == helpers.dump_tensors(
        {"w": Tensor("w", shape, Encoding.I2_S, pack_i2s(codes), 0.5)}
    )
    assert not np.array_equal(ternary_codes(tensor)[0], codes)
    with pytest.raises(ArgumentError, match="preset or setup"):
        convert(helpers.DATA / helpers.GOLDEN["llama"][0], tmp_path / "x.gguf", tl_tiles="mine")


@pytest.mark.parametrize(
    ("number", "shape", "size", "words"),
    [
        (39, (1536, 1536), 1536 * 1536 // 32 * 17, "MXFP4 of llama.cpp"),
        (39, (64, 96), 64 * 96 // 32 * 17, "MXFP4 of llama.cpp"),
        (39, (4, 64, 96), 4 * 64 * 96 // 32 * 17, "MXFP4 of llama.cpp"),
        (38, (2560, 6912), 2560 * 6912 // 4 + 32, r"TL1 of bitnet.cpp .*\[2560, 6912\].*bitnet_b1_58-large, .*Llama3"),
        (39, (2560, 2560), tl2_padded_bytes((2560, 2560)) + 32, r"TL2 of bitnet.cpp .*\[2560, 2560\].* presets"),
    ],
)
def test_other_types_and_shapes_are_named(
    tmp_path: Path, number: int, shape: tuple[int, ...], size: int, words: str
) -> None:
    path = write_model(tmp_path / "other.gguf", [Raw(Q, shape, number, bytes(size))])
    assert not read_gguf(path).tensors
    with pytest.raises(UnsupportedError, match=f"'{Q}' has the type {words}"):
        open_checkpoint(path).load()


def test_truncated_files_are_refused(tmp_path: Path, q: Tensor) -> None:
    path = tmp_path / "tl.gguf"
    for number in (38, 39):
        whole = write_raw(path, {}, tl_tensors(q, number)).read_bytes()
        assert read_gguf(path).tensors
        for size in (len(whole) - 32, len(whole) - 33, len(whole) // 2, 200):
            path.write_bytes(whole[:size])
            with pytest.raises(FormatError, match=Q):
                read_gguf(path)


def test_scales_that_are_none_are_refused(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    q = tensors[Q]
    data = tl_data(39, unpack_i2s(q.data, q.shape), pad=False)
    nan = padded(data) + struct.pack("<f", float("nan"))
    for stored, words in {data: f"'{Q}' has no scale", nan: f"scale of the tensor '{Q}' is nan"}.items():
        with pytest.raises(FormatError, match=words):
            read_gguf(write_raw(tmp_path / "tl.gguf", {}, [Raw(Q, q.shape, 39, stored)]))
    others = in_tl({name: tensor for name, tensor in tensors.items() if name != Q}, 38)
    for scale, words in {
        Raw(f"{Q}_scale", (2,), 0, bytes(8)): "is not one float32",
        Raw(f"{Q}_scale", (), 1, bytes(2)): "is not one float32",
        Raw(f"{Q}_scale", (), 0, b"\0\0\x80\x7f"): "not finite",
    }.items():
        path = write_model(tmp_path / "tl.gguf", [*others, Raw(Q, q.shape, 39, data), scale])
        with pytest.raises(FormatError, match=words):
            open_checkpoint(path).load()


def test_indices_that_mean_nothing_are_refused_and_leave_nothing(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    for number in (38, 39):
        raw = in_tl(tensors, number)
        at = next(index for index, tensor in enumerate(raw) if tensor.name == Q)
        raw[at] = raw[at]._replace(data=b"\xff" + raw[at].data[1:])
        path = write_model(tmp_path / "tl.gguf", raw)
        for read in (
            lambda path: convert(path, tmp_path / "out.gguf"),
            lambda path: LLM(path),
            lambda path: describe(open_checkpoint(path).load()),
        ):
            with pytest.raises(FormatError, match=f"'{Q}' is no TL.: it holds an index"):
                read(path)
        assert [file.name for file in tmp_path.iterdir()] == ["tl.gguf"]


@given(
    st.sampled_from(sorted(AMBIGUOUS)),
    st.one_of(
        st.sampled_from([shape for preset in TL2_TILES.values() for shape in preset]),
        st.lists(st.integers(1, 1 << 11), min_size=1, max_size=4).map(tuple),
    ),
    st.integers(-(1 << 40), 1 << 40),
    st.sampled_from([8, 32, 4096]),
)
def test_whatever_a_table_claims_lies_in_its_room(
    number: int, shape: tuple[int, ...], room: int, alignment: int
) -> None:
    try:
        found = find_by_size(number, shape, room, alignment)
    except ValueError:
        return
    for place in [] if isinstance(found, str) else found:
        assert (
            place.data_bytes <= (room if place.scale_at is None else place.scale_at)
            and (0 if place.scale_at is None else place.scale_at + 4) <= room
        )


def test_parts_of_tiled_matrices_are_refused(tmp_path: Path, q: Tensor) -> None:
    data = np.frombuffer(tl_data(38, unpack_i2s(q.data, q.shape)), np.uint8)
    tensor = Tensor("w", q.shape, Encoding.TL1, data, 1.0)
    assert list(tensor.row_chunks()) == [(0, 1536)] and tensor.rows(0, 1536).data.size == data.size
    with pytest.raises(ValueError, match="whole blocks"):
        tensor.rows(0, 768)
    with pytest.raises(ArgumentError, match="never written"):
        write_gguf(tmp_path / "tl.gguf", {}, [tensor])
