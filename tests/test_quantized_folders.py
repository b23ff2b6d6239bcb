"""Folders that were quantised after training: small ones of every layout, whole and broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from sterna import LLM
from sterna.checkpoint import open_checkpoint
from sterna.checkpoint.convert import convert
from sterna.checkpoint.hf.quantized.module import unpacked
from sterna.errors import FormatError, SternaError, UnsupportedError
from sterna.model.architectures import ARCHITECTURES
from sterna.tensor.decode import decode
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import Tensor

from . import helpers
from .adapters.random_adapters import random_adapter, saved
from .test_hf_folder import safetensors

ROWS, COLUMNS = 256, 128
SHAPE = helpers.replace(
    helpers.TINY, architecture="llama", activation="silu", hidden_size=COLUMNS, intermediate_size=ROWS
)
CONFIG = helpers.hf_config(SHAPE, "LlamaForCausalLM")
UP = "model.layers.0.mlp.up_proj"
Arrays = dict[str, np.ndarray]


def packed(codes: np.ndarray, bits: int, axis: int) -> np.ndarray:
    """Codes as one stream of bits along an axis, in words of 32 bits."""
    rows = np.moveaxis(codes, axis, -1)
    stream = np.unpackbits(rows.astype(np.uint8)[..., None], axis=-1, bitorder="little")[..., :bits]
    stream = stream.reshape(*rows.shape[:-1], -1)
    stream = np.pad(stream, [(0, 0)] * (stream.ndim - 1) + [(0, -stream.shape[-1] % 32)])
    words = np.ascontiguousarray(np.packbits(stream, axis=-1, bitorder="little")).view("<i4")
    return np.ascontiguousarray(np.moveaxis(words, -1, axis))


def test_streams_of_bits_unpack_to_the_codes_that_were_packed() -> None:
    for bits in (1, 2, 3, 4, 5, 6, 8):
        codes = np.random.default_rng(bits).integers(0, 1 << bits, (3, 96))
        for axis, given in ((1, codes), (0, codes.T)):
            assert np.array_equal(unpacked(packed(given, bits, axis), bits, axis), given)


def groups(bits: int, group: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes [rows, columns], and scales and whole zero points [rows, groups]."""
    rng = np.random.default_rng(seed)
    shape = ROWS, COLUMNS // group
    codes = rng.integers(0, 1 << bits, (ROWS, COLUMNS)).astype(np.uint8)
    return codes, rng.uniform(0.01, 0.1, shape).astype(np.float16), rng.integers(1, 1 << bits, shape)


def values(codes: np.ndarray, scales: np.ndarray, zeros: np.ndarray, order: np.ndarray | None = None) -> np.ndarray:
    """The weights, float32 [rows, columns]; `order`: the group of each column."""
    order = np.arange(COLUMNS) // (COLUMNS // scales.shape[1]) if order is None else order
    weights: np.ndarray = (codes.astype(np.float32) - zeros[:, order].astype(np.float32)) * scales.astype(np.float32)[
        :, order
    ]
    return weights


def write(folder: Path, section: dict[str, Any] | None, parts: Arrays) -> Path:
    """A float model, in which the parts take the place of one matrix."""
    folder.mkdir(exist_ok=True)
    names = ARCHITECTURES["llama"].hf_names(SHAPE.num_layers)
    tensors = {
        names[name][0]: decode(tensor).astype(np.float16) for name, tensor in helpers.tiny_tensors(SHAPE).items()
    }
    del tensors[f"{UP}.weight"]
    config = CONFIG if section is None else CONFIG | {"quantization_config": section}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(
        safetensors(tensors | {f"{UP}.{end}": part for end, part in parts.items()})
    )
    return folder


def read(folder: Path, section: dict[str, Any] | None, parts: Arrays) -> Tensor:
    return open_checkpoint(write(folder, section, parts)).load().tensors["blk.0.ffn_up.weight"]


def gptq(bits: int, group: int, version: str) -> tuple[Arrays, np.ndarray]:
    codes, scales, zeros = groups(bits, group)
    stored = zeros - (version == "gptq")
    parts = {"qweight": packed(codes.T, bits, 0), "qzeros": packed(stored.T, bits, 1), "scales": scales.T}
    return {name: np.ascontiguousarray(part) for name, part in parts.items()}, values(codes, scales, zeros)


@pytest.mark.parametrize("version", ["gptq", "gptq_v2"])
@pytest.mark.parametrize(("bits", "group"), [(2, 64), (3, 32), (4, 32), (4, 64), (4, 128), (4, 16), (8, 128)])
def test_gptq_of_every_width(tmp_path: Path, bits: int, group: int, version: str) -> None:
    parts, expected = gptq(bits, group, version)
    section = {"quant_method": "gptq", "bits": bits, "group_size": group, "checkpoint_format": version}
    tensor = read(tmp_path, section, parts)
    assert np.array_equal(decode(tensor), expected)
    assert tensor.encoding is (Encoding[f"INT4_G{group}"] if bits < 8 and group > 16 else Encoding.F32)


@pytest.mark.filterwarnings("error")
def test_scales_beyond_float16_make_a_float_matrix(tmp_path: Path) -> None:
    parts, expected = gptq(4, 32, "gptq")
    scales = parts["scales"].astype(np.float32) * np.float32(2**24)
    tensor = read(tmp_path, {"quant_method": "gptq"}, parts | {"scales": scales})
    assert tensor.encoding is Encoding.F32 and np.array_equal(decode(tensor), expected * np.float32(2**24))


def test_gptq_with_act_order(tmp_path: Path) -> None:
    codes, scales, zeros = groups(4, 32)
    order = np.random.default_rng(5).permutation(np.arange(COLUMNS) // 32).astype(np.int32)
    parts, _ = gptq(4, 32, "gptq_v2")
    section = {"quant_method": "gptq", "bits": 4, "desc_act": True, "checkpoint_format": "gptq_v2"}
    folder = write(tmp_path / "sorted", section, parts | {"g_idx": order})
    tensors = open_checkpoint(folder).load().tensors
    sorting = decode(tensors["blk.0.ffn_up_permutation.order"]).astype(int)
    assert np.array_equal(decode(tensors["blk.0.ffn_up.weight"]), values(codes, scales, zeros, order)[:, sorting])
    assert np.array_equal(order[sorting], np.sort(order))
    convert(folder, tmp_path / "plain")
    weight = open_checkpoint(tmp_path / "plain").load().tensors["blk.0.ffn_up.weight"]
    np.testing.assert_allclose(decode(weight), values(codes, scales, zeros, order), rtol=1e-3)
    uneven = order.copy()
    uneven[order == 0] = 1  # groups of different sizes: float32
    tensor = read(tmp_path / "uneven", section, parts | {"g_idx": uneven})
    np.testing.assert_allclose(decode(tensor), values(codes, scales, zeros, uneven), rtol=1e-6)


def test_adapters_meet_sorted_columns_in_their_own_order(tmp_path: Path) -> None:
    parts, _ = gptq(4, 32, "gptq_v2")
    order = np.random.default_rng(5).permutation(np.arange(COLUMNS) // 32).astype(np.int32)
    section = {"quant_method": "gptq", "bits": 4, "checkpoint_format": "gptq_v2"}
    folder = write(tmp_path / "sorted", section, parts | {"g_idx": order})
    convert(folder, tmp_path / "plain", type="f32")
    adapter = saved(tmp_path / "adapter", random_adapter(SHAPE, targets=("ffn_up",), layers=(0,)), SHAPE)
    effects = []
    for model in (tmp_path / "plain", folder):
        with LLM(model, activations="float", kv="f32", threads=1, adapters={"x": adapter}) as llm:
            effects.append(llm.logits(range(5, 29), adapter="x") - llm.logits(range(5, 29)))
    assert helpers.distance(*effects) < 0.01


def test_matrices_that_take_no_adapter_are_named(tmp_path: Path) -> None:
    rotated, standardised = write(tmp_path / "a", PARO, paroquant()), write(tmp_path / "b", None, onebit())
    up, down = (
        saved(tmp_path / name, random_adapter(SHAPE, targets=(name,), layers=(0,)), SHAPE)
        for name in ("ffn_up", "ffn_down")
    )
    with LLM(rotated, threads=1, adapters={"down": down}) as llm:
        with pytest.raises(UnsupportedError, match="rotates the input of blk.0.ffn_up.weight"):
            llm.load_adapter("up", up)
        assert llm.adapters == ["down"]
    with (
        LLM(standardised, threads=1) as llm,
        pytest.raises(UnsupportedError, match=r"product of blk.0.ffn_down.weight"),
    ):
        llm.load_adapter("down", down)


def onebit() -> Arrays:
    ones = {"weight_scale": np.ones(ROWS, np.float16), "input_factor": np.ones(COLUMNS, np.float16)}
    return ones | {"weight": np.random.default_rng(0).integers(-128, 128, (ROWS, COLUMNS // 8)).astype(np.int8)}


def test_a_bias_of_zeros_that_the_model_lacks_has_no_effect(tmp_path: Path) -> None:
    parts, expected = gptq(4, 128, "gptq")
    section = {"quant_method": "gptq", "bits": 4}
    zeros = {"bias": np.zeros(ROWS, np.float16)}
    assert np.array_equal(decode(read(tmp_path, section, parts | zeros)), expected)
    with pytest.raises(UnsupportedError, match="bias"):
        read(tmp_path, section, parts | {"bias": np.ones(ROWS, np.float16)})


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("bits", "group"), [(4, 32), (4, 128), (8, 64)])
def test_compressed_tensors(tmp_path: Path, bits: int, group: int, symmetric: bool) -> None:
    codes, scales, zeros = groups(bits, group)
    parts = {
        "weight_packed": packed(codes, bits, 1),
        "weight_scale": scales,
        "weight_shape": np.array(codes.shape, np.int64),
    }
    if symmetric:
        zeros[:] = 1 << bits - 1
    else:
        parts["weight_zero_point"] = packed(zeros, bits, 0)
    section = {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"group_0": {}}}
    assert np.array_equal(decode(read(tmp_path, section, parts)), values(codes, scales, zeros))
    order = np.random.default_rng(5).permutation(np.arange(COLUMNS) // group).astype(np.int32)
    with_order = decode(read(tmp_path, section, parts | {"weight_g_idx": order}))
    sorting = np.argsort(order, kind="stable")
    assert np.array_equal(with_order, values(codes, scales, zeros, order)[:, sorting])


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_hqq(tmp_path: Path, bits: int, axis: int) -> None:
    rng = np.random.default_rng(bits)
    count = ROWS * COLUMNS // 64
    shape = (64, count) if axis == 0 else (count, 64)
    codes = rng.integers(0, 1 << bits, shape).astype(np.uint8)
    scales, zeros = rng.uniform(0.01, 1, (2, count)).astype(np.float16)
    parts, at = np.split(codes, 8 // bits), range(8 - bits, -1, -bits)
    stored = np.bitwise_or.reduce([part << np.uint8(shift) for part, shift in zip(parts, at, strict=True)])
    kept = (1, count) if axis == 0 else (count, 1)
    tensors = {"W_q": stored, "scale": scales.reshape(kept), "zero": zeros.reshape(kept), "nbits": np.array([bits])}
    of_group = [part.reshape(kept).astype(np.float32) for part in (scales, zeros)]
    expected = ((codes - of_group[1]) * of_group[0]).reshape(ROWS, COLUMNS)
    assert np.array_equal(decode(read(tmp_path, {"quant_method": "hqq"}, tensors)), expected)


def test_bitsandbytes_with_quantised_scales(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    codes, count = rng.integers(0, 16, ROWS * COLUMNS), ROWS * COLUMNS // 64
    table, nested = (np.sort(rng.uniform(-1, 1, size)).astype(np.float32) for size in (16, 256))
    indices, outer = rng.integers(0, 256, count).astype(np.uint8), rng.uniform(0, 1, 2).astype(np.float32)
    state = {
        "shape": [ROWS, COLUMNS],
        "blocksize": 64,
        "dtype": "bfloat16",
        "nested_blocksize": 256,
        "nested_offset": 0.25,
    }
    parts = {
        "weight": (codes[0::2] << 4 | codes[1::2]).astype(np.uint8)[:, None],
        "weight.quant_map": table,
        "weight.absmax": indices,
        "weight.nested_quant_map": nested,
        "weight.nested_absmax": outer,
        "weight.quant_state.bitsandbytes__nf4": np.frombuffer(json.dumps(state).encode(), np.uint8),
    }
    scales = nested[indices] * np.repeat(outer, 256) + np.float32(0.25)
    expected = (table[codes] * np.repeat(scales, 64)).reshape(ROWS, COLUMNS)
    section = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    tensor = read(tmp_path, section, parts)
    assert tensor.encoding is Encoding.BF16
    np.testing.assert_allclose(decode(tensor), expected, rtol=2**-8)
    changes: list[dict[str, Any]] = [
        {"shape": [ROWS, 1]},
        {"blocksize": 0},
        {"dtype": "float8"},
        {"dtype": []},
        {"nested_offset": 10**400},
        {"nested_offset": float("nan")},
        {"nested_offset": 1e39},
    ]
    for text in (*(json.dumps(state | change) for change in changes), "[" * 200000):
        broken = np.frombuffer(text.encode(), np.uint8)
        refusal(tmp_path, section, parts | {"weight.quant_state.bitsandbytes__nf4": broken}, FormatError)


@pytest.mark.parametrize("bits", [8, 12])
def test_aqlm(tmp_path: Path, bits: int) -> None:
    rng = np.random.default_rng(bits)
    codes = rng.integers(0, 1 << bits, (ROWS // 2, COLUMNS // 8, 2))
    books = rng.standard_normal((2, 1 << bits, 2, 8)).astype(np.float16)
    scales = rng.uniform(0.1, 1, (ROWS // 2, 1, 1, 1)).astype(np.float16)
    blocks = sum(books[book].astype(np.float32)[codes[..., book]] for book in range(2)) * scales.astype(np.float32)
    kind = np.int8 if bits == 8 else np.int16
    parts = {"codes": np.where(codes < 1 << bits - 1, codes, codes - (1 << bits)).astype(kind)}
    tensor = read(tmp_path, {"quant_method": "aqlm"}, parts | {"codebooks": books, "scales": scales})
    np.testing.assert_allclose(decode(tensor), np.swapaxes(blocks, 1, 2).reshape(ROWS, COLUMNS), rtol=1e-6)


def refusal(folder: Path, section: dict[str, Any] | None, parts: Arrays, error: type[SternaError] = SternaError) -> str:
    with pytest.raises(error) as caught:
        read(folder, section, parts)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    return str(caught.value)


def paroquant() -> Arrays:
    rng = np.random.default_rng(0)
    pairs = rng.permuted(np.broadcast_to(np.arange(64, dtype=np.int16), (3, 2, 64)), axis=-1).reshape(3, COLUMNS)
    return {
        "qweight": rng.integers(0, 1 << 31, (COLUMNS, ROWS // 8)).astype(np.int32),
        "qzeros": rng.integers(0, 1 << 31, (2, ROWS // 8)).astype(np.int32),
        "scales": rng.uniform(0.01, 0.1, (2, ROWS)).astype(np.float16),
        "theta": rng.uniform(-1, 1, (3, COLUMNS // 2)).astype(np.float16),
        "pairs": pairs,
        "channel_scales": np.ones((1, COLUMNS), np.float16),
    }


PARO = {"quant_method": "paroquant", "bits": 4, "group_size": 128, "krot": 8}


def test_group_and_rotations_of_paroquant_are_those_of_its_tensors(tmp_path: Path) -> None:
    """`group_size` and `krot` of published files may be wrong; `channel_scales` of older ones is a vector."""
    parts = paroquant()
    parts["channel_scales"] = parts["channel_scales"].reshape(-1)
    tensors = open_checkpoint(write(tmp_path, PARO, parts)).load().tensors
    assert tensors["blk.0.ffn_up.weight"].encoding is Encoding.INT4_G64
    assert tensors["blk.0.ffn_up_rotation.pairs"].shape == (3, COLUMNS)
    assert np.array_equal(np.sort(decode(tensors["blk.0.ffn_up_rotation.pairs"])[0]), np.arange(COLUMNS))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pairs": lambda part: np.zeros_like(part)}, "no permutation"),
        ({"pairs": lambda part: part + np.int16(1)}, "no permutation"),
        ({"pairs": lambda part: part[:2]}, "pairs has the shape"),
        ({"pairs": lambda part: part.astype(np.float16)}, "pairs has the type F16"),
        ({"theta": lambda part: part[:, 1:]}, "theta has the shape"),
        ({"theta": lambda part: part * np.float16(np.nan)}, "not finite"),
        ({"theta": lambda part: part[:0]}, "0 rotations"),
        ({"channel_scales": lambda part: part[:, 1:]}, "channel_scales has the shape"),
        ({"channel_scales": None}, "no channel_scales"),
        ({"qzeros": lambda part: part[:1]}, "qzeros has the shape"),
        ({"scales": lambda part: np.full_like(part, np.inf)}, "not finite"),
        ({"scales": lambda part: part[:, :, None]}, "scales has the shape"),
        ({"qweight": lambda part: part[1:]}, "qweight has the shape"),
        ({"qweight": None}, "does not know"),
    ],
)
def test_broken_parts_of_paroquant_are_refused(
    tmp_path: Path, change: dict[str, Callable[[np.ndarray], np.ndarray] | None], words: str
) -> None:
    parts = paroquant()
    ((name, damage),) = change.items()
    if damage is None:
        del parts[name]
    else:
        parts[name] = damage(parts[name])
    assert words in refusal(tmp_path, PARO, parts)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"quant_method": "awq", "bits": 4, "version": "gemv"}, "version = 'gemv'"),
        ({"quant_method": "awq", "bits": 8}, "bits = 8"),
        ({"quant_method": "gptq", "bits": 5}, "bits = 5"),
        ({"quant_method": "gptq", "bits": 4.0}, "bits = 4.0"),
        ({"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}, "checkpoint_format = 'marlin'"),
        ({"quant_method": "paroquant", "bits": [4]}, "bits = [4]"),
        ({"quant_method": "compressed-tensors", "format": "marlin-24"}, "marlin-24"),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized"}, "no config_groups"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "load_in_4bit"),
        ({"quant_method": "vptq"}, "vptq"),
        ({"quant_method": ["awq"]}, "quant_method"),
    ],
)
def test_what_is_not_read_is_refused_by_name(tmp_path: Path, section: dict[str, Any], words: str) -> None:
    assert words in refusal(tmp_path, section, paroquant())


def test_a_quantised_norm_and_a_rank_without_axes_are_refused(tmp_path: Path) -> None:
    parts, _ = gptq(4, 32, "gptq")
    folder, stored = write(tmp_path, {"quant_method": "gptq"}, parts), tmp_path / "model.safetensors"
    stored.write_bytes(safetensors(load_file(stored) | {"model.norm.qweight": np.zeros((4, 4), np.int32)}))
    with pytest.raises(UnsupportedError, match="model.norm.qweight"):
        open_checkpoint(folder)
    signs = {"U_packed": np.zeros((ROWS, 1), np.int32), "u2": np.ones((), np.float32)}
    assert "u2 has the shape []" in refusal(tmp_path, None, signs, FormatError)


@pytest.mark.parametrize("index", [-1, 4])
def test_a_group_that_is_none_is_refused(tmp_path: Path, index: int) -> None:
    parts, _ = gptq(4, 32, "gptq")
    order = np.full(COLUMNS, index, np.int32)
    assert "outside of its 4" in refusal(tmp_path, {"quant_method": "gptq", "bits": 4}, parts | {"g_idx": order})


def test_quip_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path, None, {})
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"quip_params": {"codebook": "E8P12"}}))
    with pytest.raises(UnsupportedError, match="QuIP#"):
        open_checkpoint(tmp_path)
