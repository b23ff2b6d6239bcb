"""Hugging Face folders: the published forms, the pitfalls in FORMATS.md, and hostile files. No torch needed."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sterna.checkpoint import open_checkpoint
from sterna.errors import FormatError, NotFoundError, SternaError, UnsupportedError
from sterna.files.safetensors.reader import read_safetensors
from sterna.model.architectures import ARCHITECTURES
from sterna.tensor.encodings import Encoding
from sterna.ternary import absmean, pack_hf, unpack_i2s

from . import helpers

CONFIG = {
    "architectures": ["BitNetForCausalLM"],
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_act": "relu2",
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
}
AUTO = {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline"}
Q = "model.layers.0.self_attn.q_proj.weight"
DTYPES = {
    np.dtype(np.float32): "F32",
    np.dtype(np.float16): "F16",
    np.dtype(np.uint8): "U8",
    np.dtype(np.uint16): "BF16",
    np.dtype(np.uint32): "U32",
    np.dtype(np.int8): "I8",
    np.dtype(np.int16): "I16",
    np.dtype(np.int32): "I32",
    np.dtype(np.int64): "I64",
}


def safetensors(tensors: dict[str, np.ndarray], **changes: Any) -> bytes:
    """A safetensors file (uint16 arrays stand for bfloat16); `changes` replace entries of its header."""
    header, offset = {}, 0
    for name, array in tensors.items():
        header[name] = {
            "dtype": DTYPES[array.dtype],
            "shape": array.shape,
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(header | changes).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(array.tobytes() for array in tensors.values())


def bf16(values: np.ndarray) -> np.ndarray:
    """The upper halves of float32 values, as uint16."""
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def stored(matrices: str = "packed", divide: bool = False, old_names: bool = False) -> dict[str, np.ndarray]:
    """TINY's tensors as a folder keeps them; the matrices `packed`, `latent` or `dequantised`."""
    known = ARCHITECTURES["bitnet-b1.58"].hf_names(2)
    names = {
        canonical: sources[-1 if old_names and "_sub_norm" in canonical else 0] for canonical, sources in known.items()
    }
    rng = np.random.default_rng(1)
    tensors: dict[str, np.ndarray] = {}
    for canonical, tensor in helpers.tiny_tensors().items():
        name = names[canonical]
        if tensor.encoding is not Encoding.I2_S:
            dtype = np.float32 if tensor.encoding is Encoding.F32 else np.float16
            tensors[name] = tensor.data.view(dtype).reshape(tensor.shape)
            continue
        codes = unpack_i2s(tensor.data, tensor.shape)
        if matrices == "packed":
            tensors[name] = pack_hf(codes)
            tensors[f"{name}_scale"] = np.array([1 / tensor.scale if divide else tensor.scale], np.float32)
        elif matrices == "latent":
            tensors[name] = rng.standard_normal(tensor.shape).astype(np.float32)
        else:
            tensors[name] = codes * np.float32(tensor.scale)
    return tensors


def write(folder: Path, tensors: dict[str, np.ndarray], section: dict[str, Any] | None = AUTO, **keys: Any) -> Path:
    """A folder of one safetensors file."""
    config = CONFIG | ({} if section is None else {"quantization_config": section}) | keys
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(safetensors(tensors))
    return folder


def assert_is_tiny(folder: Path) -> None:
    """The folder holds exactly TINY's ternary matrices, and their scales to float32's rounding of a reciprocal."""
    tensors = open_checkpoint(folder).load().tensors
    for name, tensor in helpers.tiny_tensors().items():
        assert tensors[name].encoding is tensor.encoding
        assert np.array_equal(tensors[name].data, tensor.data)
        assert tensors[name].scale == pytest.approx(tensor.scale, rel=2e-7)


def test_packed_with_either_meaning_of_the_scale(tmp_path: Path) -> None:
    assert_is_tiny(write(tmp_path, stored()))
    assert_is_tiny(write(tmp_path, stored(divide=True), AUTO | {"linear_class": "bitlinear"}))
    assert_is_tiny(write(tmp_path, stored(divide=True), {"quant_method": "bitnet", "modules_to_not_convert": None}))
    config = open_checkpoint(tmp_path).load().config
    assert (config.architecture, config.activation, config.rope_style) == ("bitnet-b1.58", "relu2", "half")
    assert config.tied_head and config.head_dim == 16 and config.rope_theta == 10000


def test_latent_matrices_are_quantised_by_absmean(tmp_path: Path) -> None:
    tensors = stored("latent")
    write(tmp_path, tensors, AUTO | {"quantization_mode": "online"})
    q = open_checkpoint(tmp_path).load().tensors["blk.0.attn_q.weight"]
    codes, scale = absmean(tensors[Q])
    assert np.array_equal(unpack_i2s(q.data, q.shape), codes) and q.scale == scale


@pytest.mark.parametrize("section", [None, AUTO | {"quantization_mode": "online"}, {"quant_method": "bitnet"}])
def test_dequantised_matrices_keep_their_scale(tmp_path: Path, section: dict[str, Any] | None) -> None:
    assert_is_tiny(write(tmp_path, stored("dequantised"), section))


def test_float_model_without_quantisation_stays_float(tmp_path: Path) -> None:
    tensors = stored("latent")
    tensors[Q] = bf16(tensors[Q])
    write(tmp_path, tensors, None)
    read = open_checkpoint(tmp_path).load().tensors
    assert read["blk.0.attn_q.weight"].encoding is Encoding.BF16
    assert read["blk.0.attn_k.weight"].encoding is Encoding.F32


def test_models_of_1bitllm_go_by_their_class(tmp_path: Path) -> None:
    keys = {"architectures": ["BitnetForCausalLM"], "model_type": "llama", "hidden_act": "silu"}
    write(tmp_path, stored("dequantised", old_names=True), None, **keys, weight_bits=1, input_bits=8)
    assert_is_tiny(tmp_path)
    config = open_checkpoint(tmp_path).load().config
    assert (config.architecture, config.activation) == ("bitnet", "silu")


def test_repeated_key_in_config_json(tmp_path: Path) -> None:
    write(tmp_path, stored(divide=True))
    text = json.dumps(CONFIG)[:-1]
    section = '"quantization_config": {"quant_method": "bitnet", "modules_to_not_convert": null}'
    (tmp_path / "config.json").write_text(f"{text}, {section}, {section}}}")
    assert_is_tiny(tmp_path)


def test_llama_bodies_of_falcon_and_llama3(tmp_path: Path) -> None:
    """Llama3-8B-1.58 has a null `rope_scaling` and a head; Falcon3 a head size of its own; Falcon-E may be tied."""
    tensors = {name: data for name, data in stored(divide=True).items() if "sub_norm" not in name}
    head = {"lm_head.weight": bf16(np.random.default_rng(2).standard_normal((96, 64)))}
    keys = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "rope_scaling": None,
        "rope_theta": 500000.0,
        "head_dim": 16,
        "tie_word_embeddings": False,
    }
    expected = helpers.tiny_tensors()
    for more, tied in ((head, False), ({}, True)):
        checkpoint = open_checkpoint(write(tmp_path, tensors | more, {"quant_method": "bitnet"}, **keys)).load()
        config = checkpoint.config
        assert (config.architecture, config.rope_style, config.activation) == ("llama", "half", "silu")
        assert config.tied_head is tied and config.rope_theta == 500000 and config.rope_divisors is None
        q = checkpoint.tensors["blk.1.attn_q.weight"]
        assert np.array_equal(q.data, expected[q.name].data)
        assert q.scale == pytest.approx(expected[q.name].scale, rel=2e-7)


def test_shards(tmp_path: Path) -> None:
    tensors = stored()
    write(tmp_path, tensors)
    (tmp_path / "model.safetensors").unlink()
    names = list(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in parts.items():
        (tmp_path / file).write_bytes(safetensors({name: tensors[name] for name in part}))
    index = tmp_path / "model.safetensors.index.json"
    weight_map = {name: file for file, part in parts.items() for name in part}
    index.write_text(json.dumps({"weight_map": weight_map}))
    assert_is_tiny(tmp_path)
    for shard, error in [
        ("../a.safetensors", FormatError),
        ("/a.safetensors", FormatError),
        ("a\0.safetensors", FormatError),
    ]:
        index.write_text(json.dumps({"weight_map": weight_map | {Q: shard}}))
        with pytest.raises(error, match="no file beside it"):
            open_checkpoint(tmp_path).load()
    index.write_text(json.dumps({"weight_map": weight_map | {"more": "a.safetensors"}}))
    with pytest.raises(FormatError, match="promises"):
        open_checkpoint(tmp_path).load()


@pytest.mark.parametrize(
    ("section", "keys", "sentence"),
    [
        ({"group_size": 64}, {}, "group_size"),
        ({"quant_method": "fp8"}, {}, "fp8"),
        ({"linear_class": "trilinear"}, {}, "trilinear"),
        ({"quantization_mode": "offhand"}, {}, "offhand"),
        ({"use_rms_norm": "yes"}, {}, "use_rms_norm"),
        ({"modules_to_not_convert": ["layers.(0|1)+"]}, {}, "patterns"),
        ({}, {"architectures": ["MambaForCausalLM"]}, "MambaForCausalLM"),
        ({}, {"architectures": None}, "architectures"),
        ({}, {"hidden_act": "gelu"}, "gelu"),
        ({}, {"attention_bias": True}, "attention_bias"),
        ({}, {"rope_scaling": {"rope_type": "longrope", "factor": 8.0}}, "longrope"),
        ({}, {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4}}, "dynamic"),
        ({}, {"layer_types": ["linear_attention"]}, "layer_types"),
        ({}, {"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
    ],
)
def test_what_would_change_the_mathematics_is_refused(
    tmp_path: Path, section: dict[str, Any], keys: dict[str, Any], sentence: str
) -> None:
    write(tmp_path, stored(), AUTO | section, **keys)
    with pytest.raises(UnsupportedError, match=sentence) as caught:
        open_checkpoint(tmp_path).load()
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"hidden_size": "64"}, "hidden_size"),
        ({"hidden_size": 1 << 40}, "hidden_size"),
        ({"hidden_size": 10**400}, "hidden_size"),
        ({"num_hidden_layers": -(10**400)}, "num_hidden_layers"),
        ({"rms_norm_eps": 10**400}, "rms_norm_eps"),
        ({"rope_theta": 10**400}, "rope_theta"),
        ({"num_hidden_layers": 10**9}, "num_layers"),
        ({"num_attention_heads": 0}, "num_heads"),
        ({"num_key_value_heads": 3}, "share 3"),
        ({"rms_norm_eps": None}, "rms_norm_eps"),
        ({"rope_theta": float("nan")}, "rope_theta"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 0}}, "factor"),
        ({"rope_scaling": {"rope_type": "linear"}}, "factor"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 1e30}}, "RoPE"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "low_freq_factor"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "beta_fast": float("nan")}}, "beta_fast"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}, "rope_theta": 1.0}, "rope_theta"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0, "attention_factor": 1e30}}, "rope_attention_factor"),
        ({"vocab_size": 95}, "vocab_size"),
        ({"num_hidden_layers": 3}, "blk.2"),
        ({"quantization_config": AUTO | {"use_rms_norm": True, "rms_norm_eps": 0}}, "input_norm_eps"),
        ({"quantization_config": [1]}, "quantization_config"),
        ({"quantization_config": AUTO | {"use_rms_norm": True, "rms_norm_eps": 1e-5}}, "rms_norm"),
        ({"quantization_config": AUTO | {"modules_to_not_convert": 5}}, "modules_to_not_convert"),
    ],
)
def test_impossible_configuration_is_refused(tmp_path: Path, keys: dict[str, Any], sentence: str) -> None:
    write(tmp_path, stored(), **keys)
    with pytest.raises(FormatError, match=sentence):
        open_checkpoint(tmp_path).load()


def test_impossible_tensors_are_refused(tmp_path: Path) -> None:
    tensors = stored()
    cases: list[tuple[dict[str, np.ndarray], type[SternaError], str]] = [
        ({Q: np.full((16, 64), 255, np.uint8)}, FormatError, "field 3"),
        ({Q: np.zeros((8, 64), np.uint8)}, FormatError, "shape"),
        ({f"{Q}_scale": np.array([0], np.float32)}, FormatError, "weight_scale"),
        ({f"{Q}_scale": np.array([np.nan], np.float32)}, FormatError, "nan"),
        ({f"{Q}_scale": np.ones(2, np.float32)}, FormatError, "one float number"),
        ({Q: np.random.default_rng(0).random((64, 64), np.float32)}, FormatError, "not ternary"),
        ({"model.layers.0.self_attn.q_proj.bias": np.ones(64, np.float32)}, UnsupportedError, "q_proj.bias"),
        ({"model.layers.0.self_attn.q_proj.rms_norm.weight": np.ones(64, np.float32)}, FormatError, "rms_norm"),
        ({"model.embed_tokens.weight": np.zeros((96, 64), np.uint8)}, UnsupportedError, "packed"),
        ({"model.embed_tokens.weight": np.zeros(96, np.float32)}, FormatError, "embed_tokens"),
    ]
    for changes, error, sentence in cases:
        write(tmp_path, tensors | changes)
        with pytest.raises(error, match=sentence):
            open_checkpoint(tmp_path).load()
    del tensors[f"{Q}_scale"]
    with pytest.raises(UnsupportedError, match="packed"):
        open_checkpoint(write(tmp_path, tensors)).load()


def entry(dtype: Any, shape: Any, offsets: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    "changes",
    [
        {"t": entry("F32", [4], [0, 15])},
        {"t": entry("F32", [4], [16, 32])},
        {"t": entry("F32", [-4], [0, 16])},
        {"t": entry("F32", [-2, -2], [0, 16])},
        {"t": entry("F32", [1 << 62, 1 << 62], [0, 16])},
        {"t": entry("F32", [4.0], [0, 16])},
        {"t": entry("F32", [True], [0, 4])},
        {"t": entry("F32", 4, [0, 16])},
        {"t": entry("F32", [4], [0])},
        {"t": entry("F32", [4], None)},
        {"t": entry("F99", [4], [0, 16])},
        {"t": entry(["F32"], [4], [0, 16])},
        {"t": []},
        {"u": entry("F32", [2], [8, 16])},
    ],
)
def test_hostile_safetensors_entries_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "t.safetensors"
    path.write_bytes(safetensors({"t": np.ones(4, np.float32)}, **changes))
    with pytest.raises(FormatError, match="broken"):
        read_safetensors(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 64,
        struct.pack("<Q", 1 << 60) + b"{}" * 8,
        struct.pack("<Q", 16) + b"[1, 2, 3, 4, 5]]",
        struct.pack("<Q", 200_000) + b"[" * 200_000,
        struct.pack("<Q", 8) + b"\xff" * 8,
    ],
)
def test_hostile_safetensors_headers_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "t.safetensors"
    path.write_bytes(data)
    with pytest.raises(FormatError):
        read_safetensors(path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="config.json"):
        open_checkpoint(tmp_path).load()
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(NotFoundError, match="model.safetensors"):
        open_checkpoint(tmp_path).load()
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(FormatError, match="JSON"):
        open_checkpoint(tmp_path).load()
