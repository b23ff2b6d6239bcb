"""Folders of MLX: words of 32 bits with scales and biases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sterna.checkpoint import open_checkpoint
from sterna.errors import FormatError, SternaError, UnsupportedError
from sterna.model.architectures import ARCHITECTURES
from sterna.tensor.decode import decode
from sterna.tensor.encodings import Encoding

from . import helpers
from .test_hf_folder import safetensors

SHAPE = helpers.replace(helpers.QWEN3, hidden_size=128, intermediate_size=256, rope_attention_factor=1.0)
CONFIG = helpers.hf_config(SHAPE, "Qwen3ForCausalLM")
UP = "model.layers.0.mlp.up_proj"
Arrays = dict[str, np.ndarray]


def packed(values: np.ndarray, bits: int) -> np.ndarray:
    """Integers [out, in] as words [out, in * bits / 32], the first in the lowest bits."""
    fields = values.astype(np.uint32).reshape(len(values), -1, 32 // bits)
    words: np.ndarray = (fields << np.arange(0, 32, bits, dtype=np.uint32)).sum(axis=-1, dtype=np.uint32)
    return words


def model(bits: int, group: int = 128, dtype: type = np.float16) -> tuple[Arrays, Arrays]:
    """A model's tensors as MLX keeps them, and the values of its matrices."""
    random = np.random.default_rng(bits)
    names = ARCHITECTURES["qwen3"].hf_names(SHAPE.num_layers)
    stored, values = {}, {}
    for canonical, tensor in helpers.tiny_tensors(SHAPE).items():
        name = names[canonical][0]
        if len(tensor.shape) == 1:
            stored[name] = decode(tensor).astype(dtype)
            continue
        rows, columns = tensor.shape
        scales = random.uniform(0.01, 1, (rows, columns // group)).astype(np.float16).astype(dtype)
        codes = random.integers(0, 1 << bits, tensor.shape)
        factor = scales if bits == 2 else 2 * scales
        module = name.removesuffix(".weight")
        stored |= {name: packed(codes, bits), f"{module}.scales": factor, f"{module}.biases": -scales}
        spread = [np.repeat(each.astype(np.float32), group, axis=1) for each in (factor, -scales)]
        values[canonical] = codes.astype(np.float32) * spread[0] + spread[1]
    return stored, values


def write(folder: Path, tensors: Arrays, **keys: object) -> Path:
    section = {"group_size": 128, "bits": 2, "mode": "affine"}
    config = CONFIG | {"quantization": section, "quantization_config": section} | keys
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(safetensors(tensors))
    return folder


@pytest.mark.parametrize(
    ("bits", "group", "encoding"),
    [(2, 128, Encoding.PQ2_0), (2, 64, Encoding.Q2_0), (1, 128, Encoding.Q1_0)],
)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_matrices_have_the_values_of_their_scales_and_biases(
    tmp_path: Path, bits: int, group: int, encoding: Encoding, dtype: type
) -> None:
    stored, values = model(bits, group, dtype)
    tensors = open_checkpoint(write(tmp_path, stored)).load().tensors
    for name, expected in values.items():
        assert tensors[name].encoding is encoding and np.array_equal(decode(tensors[name]), expected), name


def test_a_head_that_is_the_embedding_may_be_there_twice(tmp_path: Path) -> None:
    stored, values = model(2)
    again = {name.replace("model.embed_tokens", "lm_head"): array for name, array in stored.items() if "embed" in name}
    tensors = open_checkpoint(write(tmp_path, stored | again)).load().tensors
    assert tensors.keys() == helpers.tiny_tensors(SHAPE).keys()
    assert np.array_equal(decode(tensors["token_embd.weight"]), values["token_embd.weight"])


def refusal(folder: Path, tensors: Arrays, error: type[SternaError], **keys: object) -> str:
    with pytest.raises(error) as caught:
        open_checkpoint(write(folder, tensors, **keys)).load()
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    return str(caught.value)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
@pytest.mark.parametrize("group", [32, 64])
def test_affine_matrices_of_other_widths_keep_their_values(tmp_path: Path, bits: int, group: int) -> None:
    stored, _ = model(2)
    random = np.random.default_rng(bits)
    codes = random.integers(0, 1 << bits, (256, 128)).astype(np.uint8)
    scales, biases = random.standard_normal((2, 256, 128 // group)).astype(np.float16)
    stream = np.unpackbits(codes[..., None], axis=-1, bitorder="little")[..., :bits].reshape(256, -1)
    words = np.packbits(stream, axis=1, bitorder="little").view("<u4")
    parts = {f"{UP}.weight": words, f"{UP}.scales": scales, f"{UP}.biases": biases}
    tensor = open_checkpoint(write(tmp_path, stored | parts)).load().tensors["blk.0.ffn_up.weight"]
    spread = [np.repeat(each.astype(np.float32), group, axis=1) for each in (scales, biases)]
    assert np.array_equal(decode(tensor), codes * spread[0] + spread[1])
    assert tensor.encoding is (Encoding.Q4_1 if bits <= 4 else Encoding.F32)


def test_scales_that_float16_does_not_hold_make_a_float32_matrix(tmp_path: Path) -> None:
    stored, _ = model(2)
    inexact = {f"{UP}.scales": np.full((256, 1), 1 / 3, np.float32), f"{UP}.biases": np.full((256, 1), -1 / 3, "f4")}
    tensor = open_checkpoint(write(tmp_path, stored | inexact)).load().tensors["blk.0.ffn_up.weight"]
    assert tensor.encoding is Encoding.F32 and np.float32(1 / 3) in decode(tensor)


def test_what_is_not_affine_is_refused_by_name(tmp_path: Path) -> None:
    stored, _ = model(2)
    infinite = {f"{UP}.biases": np.full((256, 1), np.inf, np.float16)}
    assert "not finite" in refusal(tmp_path, stored | infinite, FormatError)
    foreign = {"model.layers.0.mlp.scales": np.ones(3, np.float16)}
    assert "does not know" in refusal(tmp_path, stored | foreign, UnsupportedError)
    # MXFP4 has no biases.
    lacking = {name: array for name, array in stored.items() if name != f"{UP}.biases"}
    assert "without MLX's affine scales and biases" in refusal(tmp_path, lacking, UnsupportedError)


@pytest.mark.parametrize(
    "change",
    [
        {f"{UP}.weight": np.zeros((256, 7), np.uint32)},
        {f"{UP}.weight": np.zeros((255, 8), np.uint32)},
        {f"{UP}.scales": np.zeros((256, 3), np.float16), f"{UP}.biases": np.zeros((256, 3), np.float16)},
        {f"{UP}.scales": np.zeros((256, 1), np.float16), f"{UP}.biases": np.zeros((256, 2), np.float16)},
        {f"{UP}.scales": np.zeros(256, np.float16), f"{UP}.biases": np.zeros(256, np.float16)},
        {"lm_head.weight": np.zeros((96, 8), np.uint32), "model.norm.weight": np.zeros((96, 8), np.uint32)},
    ],
    ids=range(6),
)
def test_parts_that_do_not_fit_are_refused(tmp_path: Path, change: Arrays) -> None:
    refusal(tmp_path, model(2)[0] | change, SternaError)


def test_a_rotated_folder_is_refused(tmp_path: Path) -> None:
    """BONSAI.md, complaints 3 and 10: Bonsai 2's MLX pack, which only one program rotates, must not print noise."""
    stored, _ = model(2)
    assert "rotated" in refusal(tmp_path, stored, UnsupportedError, model_type="prism_hadamard_qwen35")
    assert ".signs" in refusal(tmp_path, stored | {f"{UP}.signs": np.ones(128, np.float16)}, UnsupportedError)
    (tmp_path / "hadamard.json").write_text("{}")
    assert "rotated" in refusal(tmp_path, stored, UnsupportedError)
