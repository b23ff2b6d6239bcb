"""Models with scales for groups of ternary or binary weights (Bonsai): golden files, types of one number, convert."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sterna import LLM
from sterna.checkpoint import open_checkpoint
from sterna.checkpoint.convert import convert
from sterna.errors import UnsupportedError
from sterna.files.gguf import read_gguf
from sterna.tensor.decode import decode
from sterna.tensor.encodings import Encoding
from tests.helpers import relative_error
from tests.tiny_vocabularies import SHARED

QWEN3 = SHARED / "golden-bonsai" / "qwen3"
pytestmark = pytest.mark.skipif(
    not QWEN3.is_dir(), reason="../shared/golden-bonsai is not there (a fixture of the project)"
)
FILES = {
    "q2_0-g64": "ternary",
    "q2_0-g128-legacy": "ternary",
    "pq2_0": "ternary",
    "ptq1_0": "ternary",
    "mixed-ptq1_0-pq2_0embd": "ternary",
    "yarn-q2_0-g64": "yarn",
    "q1_0": "q1_0",
}
"""Models, and the names of their logits."""


def sequences(name: str) -> list[tuple[list[int], np.ndarray]]:
    tokens = json.loads((QWEN3 / "tokens.json").read_text())["tokens"]
    return [
        (
            tokens[path.name.split(".")[1]],
            np.fromfile(path, np.float32).reshape(len(tokens[path.name.split(".")[1]]), -1),
        )
        for path in sorted(QWEN3.glob(f"{name}.?.logits.f32"))
    ]


@pytest.mark.parametrize("name", FILES)
def test_golden_models_have_the_logits_of_their_weights(name: str) -> None:
    assert sequences(FILES[name])
    for activations, least, most in (("float", 0.0, 1e-5), ("int15", 0.0, 2e-3), ("int8", 1e-3, 0.1)):
        llm = LLM(QWEN3 / f"{name}.gguf", threads=1, kv="f32", activations=activations)
        for tokens, expected in sequences(FILES[name]):
            assert least <= relative_error(expected, llm.logits(tokens)) < most, activations


@pytest.mark.parametrize("activations", ["int8", "int15"])
def test_isas_and_chunks_give_the_same_bits(activations: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from sterna import _native

    tokens = sequences("ternary")[0][0]
    expected = LLM(QWEN3 / "pq2_0.gguf", threads=1, activations=activations).logits(tokens)
    for isa in _native.available_isas():
        monkeypatch.setenv("STERNA_ISA", isa)
        llm = LLM(QWEN3 / "pq2_0.gguf", threads=2, activations=activations)
        assert np.array_equal(llm.logits(tokens), expected)
        assert np.array_equal(llm.logits(tokens[:5]), expected[:5])


@pytest.mark.parametrize(
    ("name", "encoding"),
    [("q2_0-g64", Encoding.Q2_0), ("q2_0-g128-legacy", Encoding.PQ2_0), ("ptq1_0", Encoding.PTQ1_0)],
)
def test_type_42_is_told_by_its_size(name: str, encoding: Encoding) -> None:
    tensors = read_gguf(QWEN3 / f"{name}.gguf").tensors.values()
    assert {tensor.encoding for tensor in tensors if len(tensor.shape) == 2} == {encoding}


@pytest.mark.parametrize("type", ["q2_0", "pq2_0", "ptq1_0", "f16"])
def test_conversions_between_groups_are_exact(type: str, tmp_path: Path) -> None:
    source = open_checkpoint(QWEN3 / "pq2_0.gguf").load().tensors
    report = convert(QWEN3 / "pq2_0.gguf", tmp_path / "out.gguf", type=type, head=type, verify=True)
    assert report.scale_change == 0
    for name, tensor in open_checkpoint(tmp_path / "out.gguf").load().tensors.items():
        assert np.array_equal(decode(tensor), decode(source[name])), name


def test_what_groups_cannot_hold_is_refused(tmp_path: Path) -> None:
    for source, type in (("pq2_0", "i2_s"), ("pq2_0", "tq2_0"), ("pq2_0", "q1_0")):
        with pytest.raises(UnsupportedError):
            convert(QWEN3 / f"{source}.gguf", tmp_path / "out.gguf", type=type)
    assert not list(tmp_path.iterdir())
