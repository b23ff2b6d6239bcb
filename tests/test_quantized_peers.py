"""Models that other tools quantised after training: their logits, their rotations, and conversions of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from sterna import LLM
from sterna.checkpoint import open_checkpoint
from sterna.checkpoint.convert import convert
from sterna.model.oracle import linear, rotate
from sterna.tensor.decode import decode, tensor_values
from sterna.tensor.encodings import Encoding

from . import helpers

PEERS = {
    "awq": Encoding.INT4_G128,
    "gptq": Encoding.INT4_G128,
    "paroquant": Encoding.INT4_G128,
    "compressed-tensors": Encoding.INT4_G128,
    "hqq": Encoding.INT4_G64,
    "mlx-4bit": Encoding.Q4_1,
    "bnb-nf4": Encoding.F16,
    "aqlm-2x8": Encoding.F32,
    "onebit": Encoding.Q1_0,
    "littlebit": Encoding.F32,
}


@pytest.mark.parametrize("name", PEERS)
def test_the_peers_own_models_give_their_logits(name: str) -> None:
    folder = helpers.shared("golden-ptq") / name
    tokens, expected = np.load(folder / "tokens.npy").tolist(), np.load(folder / "logits.npy")
    probe = load_file(folder / "probe.safetensors")
    with LLM(folder, activations="float", kv="f32", threads=1) as llm:
        key = llm.checkpoint.tensors["blk.0.attn_k.weight"]
        assert key.encoding is PEERS[name]
        weight = probe["sign"] if name == "onebit" else probe["weight"]
        got = np.sign(decode(key)) if name == "onebit" else decode(key)
        assert helpers.relative_error(weight, got[: len(weight)]) < (2e-4 if name == "bnb-nf4" else 1e-6)
        logits = llm.logits(tokens)
    assert helpers.relative_error(expected, logits) < 1e-4
    assert helpers.top1_matches(expected, logits).all()


def test_rotations_are_those_of_paroquant_and_int8_activations_cost_little() -> None:
    folder = helpers.shared("golden-ptq") / "paroquant"
    tensors = tensor_values(open_checkpoint(folder).load().tensors)
    probe = load_file(folder / "probe.safetensors")
    scales, angles, pairs = (
        np.asarray(tensors[f"blk.0.attn_k_rotation.{part}"]) for part in ("scales", "angles", "pairs")
    )
    rotated = rotate(probe["x"] * scales, angles, pairs)
    assert helpers.relative_error(probe["rotated"], rotated) < 1e-5
    got = linear(tensors["blk.0.attn_k.weight"], rotated, "int8", 128)
    assert helpers.relative_error(probe["y"], got) < 1.3e-2


@pytest.mark.parametrize(("activations", "bound"), [("int8", 0.08), ("int15", 1e-3)])
@pytest.mark.parametrize("name", ["paroquant", "awq"])
def test_quantised_activations_stay_near_the_peers_logits(name: str, activations: str, bound: float) -> None:
    folder = helpers.shared("golden-ptq") / name
    tokens, expected = np.load(folder / "tokens.npy").tolist(), np.load(folder / "logits.npy")
    with LLM(folder, activations=activations, kv="f32", threads=1) as llm:
        logits = llm.logits(tokens)
    assert helpers.distance(expected, logits) < bound
    assert helpers.mean_kl(expected, logits) < 0.04 and helpers.top1_matches(expected, logits).mean() >= 0.8


@pytest.mark.parametrize("target", ["model.gguf", "folder"])
@pytest.mark.parametrize("name", ["paroquant", "mlx-4bit"])
def test_conversions_hold_the_same_model(tmp_path: Path, name: str, target: str) -> None:
    folder = helpers.shared("golden-ptq") / name
    tokens, expected = np.load(folder / "tokens.npy").tolist(), np.load(folder / "logits.npy")
    convert(folder, tmp_path / target, verify=True)
    with LLM(tmp_path / target, activations="float", kv="f32", threads=1) as llm:
        assert helpers.distance(expected, llm.logits(tokens)) < 2e-3  # of float16
