"""Importance matrices: their files, how they are collected, and conversions that use them."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterna.checkpoint import open_checkpoint
from sterna.checkpoint.convert import convert
from sterna.checkpoint.convert.check import compare
from sterna.checkpoint.imatrix import Sums, read_imatrix, write_imatrix
from sterna.cli.quantize import quantize
from sterna.errors import ArgumentError, FormatError, OptionError, SternaError, UnsupportedError
from sterna.files.gguf.reader import read_gguf
from sterna.files.gguf.writer import write_gguf
from sterna.ptq.importance import collect
from sterna.tensor.decode import decode

from . import helpers
from .ptq.models import float_model, text

FLOAT = replace(
    helpers.TINY,
    architecture="llama",
    activation="silu",
    hidden_size=256,
    intermediate_size=288,
    rope_style="interleaved",
)
MATRIX = "blk.0.ffn_gate.weight"


def model(path: Path) -> Path:
    """A model whose matrices are floats."""
    rng = np.random.default_rng(4)
    tensors = {
        name: helpers.float_tensor(name, rng.standard_normal(tensor.shape) / 8) if len(tensor.shape) == 2 else tensor
        for name, tensor in helpers.tiny_tensors(FLOAT).items()
    }
    write_gguf(path, helpers.gguf_metadata(FLOAT), tensors.values())
    return path


def importance_file(path: Path, columns: int = 256) -> Path:
    squares = np.exp(np.random.default_rng(0).uniform(-4, 4, columns)).astype(np.float32)
    write_imatrix(path, {MATRIX: Sums(squares, 4)}, ["text.txt"], chunks=1, chunk_size=4)
    return path


def dat(path: Path, entries: dict[str, np.ndarray], calls: int = 2) -> Path:
    data = struct.pack("<i", len(entries))
    for name, values in entries.items():
        data += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", calls, values.size)
        data += values.astype("<f4").tobytes()
    path.write_bytes(data + struct.pack("<ii", 7, 8) + b"text.txt")
    return path


def test_what_is_written_is_what_llama_cpp_expects(tmp_path: Path) -> None:
    file = read_gguf(importance_file(tmp_path / "m.gguf"))
    assert file.metadata["general.type"] == "imatrix" and list(file.metadata["imatrix.datasets"]) == ["text.txt"]
    assert file.metadata["imatrix.chunk_count"] == 1 and file.metadata["imatrix.chunk_size"] == 4
    assert file.tensors[f"{MATRIX}.in_sum2"].shape == (1, 256) and decode(file.tensors[f"{MATRIX}.counts"]) == [[4]]


def test_both_forms_give_mean_squares(tmp_path: Path) -> None:
    new = read_imatrix(importance_file(tmp_path / "m.gguf"))
    old = read_imatrix(dat(tmp_path / "m.dat", {MATRIX: 2 * new[MATRIX], "unseen": np.zeros(0)}))
    assert new.keys() == old.keys() == {MATRIX}
    assert np.array_equal(new[MATRIX], old[MATRIX])
    assert np.array_equal(new[MATRIX], decode(read_gguf(tmp_path / "m.gguf").tensors[f"{MATRIX}.in_sum2"])[0] / 4)


@pytest.mark.parametrize(
    ("metadata", "tensors", "kind"),
    [
        ({"general.type": "model"}, {}, FormatError),
        ({}, {}, FormatError),
        ({"general.type": "imatrix"}, {"w": (1, 4)}, FormatError),
        ({"general.type": "imatrix"}, {"w.in_sum2": (1, 4)}, FormatError),
        ({"general.type": "imatrix"}, {"w.in_sum2": (2, 4), "w.counts": (2, 1)}, UnsupportedError),
    ],
)
def test_other_gguf_files_are_refused(
    metadata: dict[str, str], tensors: dict[str, tuple[int, int]], kind: type[SternaError], tmp_path: Path
) -> None:
    parts = [helpers.float_tensor(name, np.ones(shape)) for name, shape in tensors.items()]
    write_gguf(tmp_path / "m.gguf", metadata, parts)
    with pytest.raises(kind):
        read_imatrix(tmp_path / "m.gguf")


@pytest.mark.parametrize("value", [-1, np.nan, np.inf])
def test_importances_are_squares(value: float, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no squares"):
        read_imatrix(dat(tmp_path / "m.dat", {MATRIX: np.array([1, value])}))


@given(st.binary(min_size=1, max_size=200) | st.builds(lambda cut: cut, st.integers(1, 60)))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes | int) -> None:
    path = tmp_path_factory.getbasetemp() / "any.dat"
    if isinstance(data, int):
        data = dat(path, {"a": np.ones(8), "b": np.ones(4)}).read_bytes()[:data]
    path.write_bytes(data)
    try:
        read_imatrix(path)
    except SternaError as error:
        assert str(error).endswith(".")


def test_sums_are_those_of_the_inputs_of_matrices(tmp_path: Path) -> None:
    source = open_checkpoint(model(tmp_path / "m.gguf"))
    windows = [[1, 2, 3, 4], [5, 6]]
    shares: list[float] = []
    sums = collect(source, windows, shares.append)
    matrices = {name for name, tensor in source.tensors.items() if len(tensor.shape) == 2}
    assert sums.keys() == matrices  # the head is the embedding
    assert {each.rows for each in sums.values()} == {6} and shares[-1] == 1
    tensors = source.load().tensors
    rows = decode(tensors["token_embd.weight"])[[1, 2, 3, 4, 5, 6]]
    normed = rows / np.sqrt((rows**2).mean(axis=1, keepdims=True) + FLOAT.rms_norm_eps)
    expected = np.square(normed * decode(tensors["blk.0.attn_norm.weight"])).sum(axis=0)
    for name in ("attn_q", "attn_k", "attn_v"):
        np.testing.assert_allclose(sums[f"blk.0.{name}.weight"].squares, expected, rtol=1e-4)
    alone = [collect(source, [window])["blk.1.ffn_down.weight"].squares for window in windows]
    np.testing.assert_allclose(sums["blk.1.ffn_down.weight"].squares, sum(alone), rtol=1e-5)


def test_the_verb_collects_what_a_conversion_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = float_model(tmp_path / "model")
    texts = [text(tmp_path)]
    quantize(str(source), tmp_path / "i.gguf", "imatrix", calibration=texts, samples=3, length=16)
    assert f"matrices; calibrated on 48 tokens of {texts[0]}" in capsys.readouterr().out
    assert set(read_imatrix(tmp_path / "i.gguf")) >= {"blk.0.attn_q.weight", "blk.1.ffn_down.weight"}
    report = convert(source, tmp_path / "out.gguf", type="q4_0", imatrix=tmp_path / "i.gguf", verify=True)
    assert not report.notes
    with pytest.raises(ArgumentError, match="ends in .gguf"):
        quantize(str(source), tmp_path / "i.dat", "imatrix", calibration=texts)


@pytest.mark.parametrize("option", [{"bits": 4}, {"format": "gguf"}, {"symmetric": True}, {"device": "cuda"}])
def test_options_without_effect_are_refused(option: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="leave it out") as refused:
        quantize("model", tmp_path / "i.gguf", "imatrix", **option)
    assert [refused.value.option] == list(option)


def test_a_ternary_model_has_no_importance_matrix() -> None:
    with pytest.raises(UnsupportedError, match="ternary"):
        collect(open_checkpoint(helpers.EMBEDDED_MODEL), [[1, 2]])


def weighted_error(path: Path, source: Path, importance: np.ndarray) -> float:
    before, after = (decode(open_checkpoint(each).load().tensors[MATRIX]) for each in (source, path))
    return float((importance * (before - after) ** 2).sum())


@pytest.mark.parametrize("encoding", ["q4_0", "q4_k", "q5_k", "q6_k", "iq4_nl"])
def test_a_conversion_weighs_errors_by_importance(encoding: str, tmp_path: Path) -> None:
    source, imatrix = model(tmp_path / "m.gguf"), importance_file(tmp_path / "i.gguf")
    plain = convert(source, tmp_path / "plain.gguf", type=encoding, verify=True)
    report = convert(source, tmp_path / "weighted.gguf", type=encoding, imatrix=imatrix, verify=True)
    assert report.types[encoding] == plain.types[encoding] >= 8
    assert "says nothing of" in report.notes[-1]
    assert open_checkpoint(report.path).tensors[MATRIX].encoding.value == encoding
    importance = read_imatrix(imatrix)[MATRIX]
    errors = [weighted_error(path, source, importance) for path in (report.path, plain.path)]
    assert errors[0] < 0.98 * errors[1]


def test_verification_sees_damage_where_the_importance_is_0(tmp_path: Path) -> None:
    source, imatrix = model(tmp_path / "m.gguf"), tmp_path / "i.gguf"
    nothing = np.zeros(256, np.float32)
    write_imatrix(imatrix, {MATRIX: Sums(nothing, 4)}, ["text.txt"], chunks=1, chunk_size=4)
    path = convert(source, tmp_path / "out.gguf", type="q4_k", imatrix=imatrix, verify=True).path
    before, after = (dict(open_checkpoint(each).load().tensors) for each in (source, path))
    compare(before, after, latent=False, importance={MATRIX: nothing})
    after[MATRIX] = replace(after["blk.1.ffn_gate.weight"], name=MATRIX)
    with pytest.raises(FormatError, match="differs"):
        compare(before, after, latent=False, importance={MATRIX: nothing})


@pytest.mark.parametrize(
    ("encoding", "columns", "kind", "words"),
    [
        (None, 256, ArgumentError, "choose --type"),
        ("q8_0", 256, ArgumentError, "choose --type"),
        ("q4_k", 32, FormatError, "another model"),
    ],
)
def test_an_importance_matrix_without_use_is_refused(
    encoding: str | None, columns: int, kind: type[SternaError], words: str, tmp_path: Path
) -> None:
    source, imatrix = model(tmp_path / "m.gguf"), importance_file(tmp_path / "i.gguf", columns)
    with pytest.raises(kind, match=words):
        convert(source, tmp_path / "out.gguf", type=encoding, imatrix=imatrix)
    assert not (tmp_path / "out.gguf").exists()
