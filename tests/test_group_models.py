"""Models with scales for groups of ternary or binary weights (Bonsai): golden files, types of one number, convert."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sterna import LLM, _native
from sterna.checkpoint import open_checkpoint
from sterna.checkpoint.convert import convert
from sterna.checkpoint.gguf.hadamard import read_hadamard
from sterna.cli.info import describe
from sterna.engine.backend import Span
from sterna.engine.native import NativeBackend
from sterna.errors import FormatError, UnsupportedError
from sterna.files.gguf import read_gguf
from sterna.model.architectures import build_plan
from sterna.model.operations import Embed, Hadamard
from sterna.model.oracle import Oracle, hadamard
from sterna.model.plan import Head, Plan
from sterna.tensor.decode import decode, tensor_values
from sterna.tensor.encodings import Encoding
from tests.helpers import float_tensor, relative_error
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
    for activations, most in (("float", 1e-5), ("int8", 2e-3)):  # these encodings take int15 where others take int8
        llm = LLM(QWEN3 / f"{name}.gguf", threads=1, kv="f32", activations=activations)
        for tokens, expected in sequences(FILES[name]):
            assert relative_error(expected, llm.logits(tokens)) < most, activations


@pytest.mark.parametrize("name", ["q2_0-g64", "ptq1_0"])
def test_isas_and_chunks_give_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = sequences("ternary")[0][0]
    expected = LLM(QWEN3 / f"{name}.gguf", threads=1).logits(tokens)
    for isa in _native.available_isas():
        monkeypatch.setenv("STERNA_ISA", isa)
        llm = LLM(QWEN3 / f"{name}.gguf", threads=2)
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


ROTATED = {"hadamard-ptq1_0": "hadamard", "hadamard-v2-tied-ptq1_0": "hadamard-v2-tied"}


@pytest.mark.parametrize("name", ROTATED)
def test_rotated_models_have_the_logits_of_their_unrotated_weights(name: str, tmp_path: Path) -> None:
    """BONSAI.md, complaint 3: Bonsai 2's files load in other programs, and print gibberish."""
    path = QWEN3 / f"{name}.gguf"
    assert sequences(ROTATED[name])
    for tokens, expected in sequences(ROTATED[name]):
        logits = LLM(path, threads=2, kv="f32", activations="float").logits(tokens)
        assert relative_error(expected, logits) < 1e-5
        checkpoint = open_checkpoint(path).load()
        plan = build_plan(checkpoint.config, checkpoint.tensors, activations="none")
        oracle = Oracle(json.loads(json.dumps(plan.to_dict())), tensor_values(checkpoint.tensors), np.float32)
        assert relative_error(oracle.logits(tokens[:9]), logits[:9]) < 1e-5
        assert relative_error(expected, LLM(path, threads=1).logits(tokens)) < 5e-3
    converted = convert(path, tmp_path / "pq2_0.gguf", type="pq2_0", verify=True).path
    assert open_checkpoint(converted).config == checkpoint.config
    with pytest.raises(UnsupportedError, match="rotated"):
        convert(path, tmp_path / "folder")


@pytest.mark.parametrize(
    "change",
    [
        {"version": 3},
        {"version": None},
        {"block_size": 96},
        {"block_size": 8192},
        {"transform": "hartley"},
        {"sign_mode": "random"},
        {"gdn_v_grouped": True},
        {"something": 1},
        {"tied_output": True},
        {"weight_names": ["blk.0.attn_norm.weight"]},
        {"weight_names": ["blk.9.attn_q.weight"]},
        {"sign_widths": [1, 1]},
        {"sign_values": [2] * 640},
        {"sign_values": [float("inf")] * 640},
    ],
    ids=str,
)
def test_a_rotation_that_is_not_understood_is_refused(change: dict[str, Any]) -> None:
    """BONSAI.md, complaint 3: what cannot be rotated must not run."""
    file = read_gguf(QWEN3 / "hadamard-ptq1_0.gguf")
    keys = dict(file.metadata) | {f"prism.hadamard.{name}": value for name, value in change.items()}
    with pytest.raises((FormatError, UnsupportedError), match=r"^its rotation[^\n]*\.$"):
        read_hadamard({key: value for key, value in keys.items() if value is not None}, file.tensors)


@pytest.mark.parametrize("key", ["version", "transform", "sign_mode", "block_size", "gdn_v_grouped", "tied_output"])
def test_a_list_in_place_of_a_value_is_refused(key: str) -> None:
    file = read_gguf(QWEN3 / "hadamard-ptq1_0.gguf")
    with pytest.raises(UnsupportedError, match=rf"^its prism\.hadamard\.{key} is a list"):
        read_hadamard({**file.metadata, f"prism.hadamard.{key}": np.array([1, 2])}, file.tensors)


@pytest.mark.parametrize("isa", ["", "scalar"])
def test_the_transform_is_the_golden_one(isa: str) -> None:
    file = np.load(QWEN3.parent / "types" / "hadamard.npz")
    x, signs, block = file["x"], [int(sign) for sign in file["signs"]], int(file["block"])
    width = x.shape[1]
    tensors = {"table": float_tensor("table", x), "head": float_tensor("head", np.zeros((1, width)))}
    for direction in ("forward", "inverse"):
        operations = [Embed("x", "table"), Hadamard("hidden", "x", block, direction, "s")]
        plan = Plan(len(x), Head("head"), "hidden", {"x": width, "hidden": width}, signs={"s": signs})
        plan.operations.extend(operations)
        backend = NativeBackend(plan, tensors, isa=isa, threads=1, blocks=1)
        got = backend.forward([Span(range(len(x)), 0, [], len(x))])
        assert np.abs(got - file[direction]).max() < 1e-5
    large = np.load(QWEN3.parent / "types" / "hadamard1024.npz")
    assert np.abs(hadamard(large["x"], 1024) - large["forward"]).max() < 1e-5


def unpacked_model() -> tuple[Path, list[int], np.ndarray]:
    tokens = json.loads((QWEN3 / "tokens.json").read_text())["f16_unpacked"]["tokens"]["a"]
    path = QWEN3 / "f16-unpacked.gguf"
    return path, tokens, np.fromfile(QWEN3 / "f16-unpacked.a.logits.f32", np.float32).reshape(len(tokens), -1)


def test_an_unpacked_model_keeps_its_weights_in_every_form(tmp_path: Path) -> None:
    path, tokens, expected = unpacked_model()
    facts = describe(open_checkpoint(path).load())
    assert facts["ternary_parameters"] == 0 and facts["unpacked"] == {"pq2_0": 8}
    packed = convert(path, tmp_path / "packed.gguf", type="ptq1_0", head="pq2_0", verify=True)
    folder = convert(packed.path, tmp_path / "folder", verify=True)
    assert packed.scale_change == folder.scale_change == 0
    assert (packed.types, folder.types) == ({"pq2_0": 1, "ptq1_0": 7, "f32": 5}, {"f16": 8, "f32": 5})
    assert convert(folder.path, tmp_path / "again.gguf").types == {"pq2_0": 8, "f32": 5}
    for model in (path, packed.path, folder.path):
        logits = LLM(model, threads=1, kv="f32", activations="float").logits(tokens)
        assert relative_error(expected, logits) < 1e-5


@pytest.mark.parametrize(("bits", "encoding"), [(2, "pq2_0"), (1, "q1_0")])
def test_mlx_folders_have_the_logits_of_their_weights(bits: int, encoding: str, tmp_path: Path) -> None:
    folder = QWEN3 / f"mlx-{bits}bit"
    ((tokens, expected),) = sequences(folder.name)
    for activations, most in (("float", 1e-5), ("int8", 2e-3)):
        llm = LLM(folder, threads=1, kv="f32", activations=activations)
        assert relative_error(expected, llm.logits(tokens)) < most, activations
    assert convert(folder, tmp_path / "m.gguf", verify=True).types == {encoding: 15, "f32": 9}
    assert convert(folder, tmp_path / "folder", verify=True).types == {"f16": 24}
    assert open_checkpoint(tmp_path / "folder").tensors["blk.1.ffn_up.weight"].encoding.value == encoding


def test_what_groups_cannot_hold_is_refused(tmp_path: Path) -> None:
    for source, type in (("pq2_0", "i2_s"), ("pq2_0", "tq2_0"), ("pq2_0", "q1_0")):
        with pytest.raises(UnsupportedError):
            convert(QWEN3 / f"{source}.gguf", tmp_path / "out.gguf", type=type)
    assert not list(tmp_path.iterdir())
