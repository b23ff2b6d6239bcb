"""Helpers that several tests share: paths of data, tiny models, and comparisons of two engines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sterna.bench.synthetic import HALFS_AT
from sterna.checkpoint import Checkpoint
from sterna.files.embedded import EMBEDDED_MODEL
from sterna.files.gguf import read_gguf
from sterna.model.architectures import build_plan
from sterna.model.config import ModelConfig
from sterna.model.delta_net import DeltaNet
from sterna.model.oracle import Oracle
from sterna.model.validate import input_norm_shapes, tensor_shapes
from sterna.tensor.decode import tensor_values
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import Tensor
from sterna.ternary import pack_i2s
from sterna.train.corpus import document_parts

DATA = Path(__file__).parent / "data"
EMBEDDED_CONTEXT = int(read_gguf(EMBEDDED_MODEL).metadata["bitnet-b1.58.context_length"])
SHARED = Path(__file__).parents[2] / "shared"
TOKENS: list[int] = json.loads((DATA / "tokens.json").read_text())
GOLDEN = {
    "bitnet-b1.58": ("tiny-bitnet-b158-i2_s.gguf", "bitnetcpp-i2_s.logits.f32"),
    "llama": ("tiny-llama-i2_s.gguf", "bitnetcpp-llama-i2_s.logits.f32"),
}
"""Model file and bitnet.cpp's logits for TOKENS, in DATA."""

TINY = ModelConfig(
    architecture="bitnet-b1.58",
    vocab_size=96,
    hidden_size=64,
    intermediate_size=160,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    context_length=128,
    rms_norm_eps=1e-5,
    rope_theta=10000.0,
    rope_style="half",
    activation="relu2",
    tied_head=True,
)
QWEN3 = replace(TINY, architecture="qwen3", head_dim=32, activation="silu", rope_attention_factor=1.1)
GEMMA3 = replace(
    TINY,
    architecture="gemma3",
    num_layers=3,
    num_kv_heads=1,
    head_dim=48,
    activation="gelu",
    embedding_scale=8.0,
    rope_divisors=tuple(1 + i / 8 for i in range(24)),
    sliding_layers=(0, 2),
    local_rope_theta=100.0,
)

QWEN35 = replace(
    TINY,
    architecture="qwen35",
    activation="silu",
    num_layers=3,
    head_dim=32,
    rotary_dim=8,
    delta_net=DeltaNet((0, 2), key_heads=2, value_heads=6, key_dim=16, value_dim=24, conv_width=4, is_tiled=True),
)


def shared(*parts: str) -> Path:
    """A path below the project's shared folder; skips the test where a checkout has none."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is not in this checkout")
    return path


def golden_logits(path: Path) -> np.ndarray:
    """Logits [48, 512] of a golden file."""
    return np.fromfile(path, np.float32).reshape(len(TOKENS), -1)


def float_tensor(name: str, values: np.ndarray, encoding: Encoding = Encoding.F32) -> Tensor:
    """A tensor in F32 or F16."""
    dtype = {Encoding.F32: np.float32, Encoding.F16: np.float16}[encoding]
    return Tensor(name, values.shape, encoding, np.ascontiguousarray(values, dtype).reshape(-1).view(np.uint8))


def tiny_tensors(config: ModelConfig = TINY, seed: int = 0, input_norms: bool = False) -> dict[str, Tensor]:
    """Random tensors of a model: ternary matrices in layers, F16 embedding and head, F32 norms, decays and
    convolutions."""
    rng = np.random.default_rng(seed)
    shapes = tensor_shapes(config) | (input_norm_shapes(config) if input_norms else {})
    tensors = {}
    for name, shape in shapes.items():
        if name.endswith(".ssm_a"):
            tensors[name] = float_tensor(name, -rng.uniform(0.01, 1, shape))
        elif name.endswith(".ssm_conv1d.weight"):
            tensors[name] = float_tensor(name, rng.standard_normal(shape) / 2)
        elif len(shape) == 1:
            tensors[name] = float_tensor(name, rng.uniform(0.5, 1.5, shape))
        elif name.startswith("blk."):
            codes = rng.integers(-1, 2, shape).astype(np.int8)
            scale = float(np.float32(rng.uniform(0.5, 1.5) / shape[1] ** 0.5))
            tensors[name] = Tensor(name, shape, Encoding.I2_S, pack_i2s(codes), scale)
        else:
            tensors[name] = float_tensor(name, rng.standard_normal(shape), Encoding.F16)
    return tensors


def tiny_checkpoint(config: ModelConfig, **options: Any) -> Checkpoint:
    """A model of `tiny_tensors`."""
    return Checkpoint(config, tiny_tensors(config, **options), {}, Path(f"tiny {config.architecture}")).load()


def gguf_metadata(config: ModelConfig = TINY) -> dict[str, Any]:
    """The keys that describe `config`, without a tokenizer."""
    prefix = config.architecture
    return {
        "general.architecture": prefix,
        f"{prefix}.vocab_size": config.vocab_size,
        f"{prefix}.context_length": config.context_length,
        f"{prefix}.embedding_length": config.hidden_size,
        f"{prefix}.block_count": config.num_layers,
        f"{prefix}.feed_forward_length": config.intermediate_size,
        f"{prefix}.attention.head_count": config.num_heads,
        f"{prefix}.attention.head_count_kv": config.num_kv_heads,
        f"{prefix}.attention.key_length": config.head_dim,
        f"{prefix}.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        f"{prefix}.rope.freq_base": config.rope_theta,
    }


def hf_config(config: ModelConfig, hf_class: str) -> dict[str, Any]:
    """The `config.json` of a folder of `config`, whose head is its embedding."""
    return {
        "architectures": [hf_class],
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "rms_norm_eps": config.rms_norm_eps,
        "hidden_act": config.activation,
        "tie_word_embeddings": True,
    }


def distance(expected: np.ndarray, got: np.ndarray) -> float:
    """The norm of the difference, relative to that of `expected`."""
    return float(np.linalg.norm(expected - got) / np.linalg.norm(expected))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-softmax over the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def mean_kl(reference: np.ndarray, logits: np.ndarray) -> float:
    """Mean over positions of KL(reference || logits), in nats."""
    p, q = log_softmax(reference), log_softmax(logits)
    return float((np.exp(p) * (p - q)).sum(axis=-1).mean())


def top1_matches(reference: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """For each position, whether both have the same top token."""
    matches: np.ndarray = reference.argmax(axis=-1) == logits.argmax(axis=-1)
    return matches


def top1_margin(logits: np.ndarray) -> np.ndarray:
    """For each position, how far the top logit is above the next."""
    best = np.sort(logits, axis=-1)
    margin: np.ndarray = best[:, -1] - best[:, -2]
    return margin


def relative_error(reference: np.ndarray, value: np.ndarray) -> float:
    """Largest difference as a share of the largest reference value."""
    return float(np.abs(reference - value).max() / np.abs(reference).max())


def oracle(
    model: Checkpoint | tuple[ModelConfig, Mapping[str, Tensor]],
    activations: str = "int8",
    kv_dtype: type[np.floating | np.int8] = np.float16,
) -> Oracle:
    """The plan of a model (or of configuration and tensors) as numpy runs it."""
    config, tensors = (model.config, model.load().tensors) if isinstance(model, Checkpoint) else model
    plan = build_plan(config, tensors, activations=activations)
    return Oracle(plan.to_dict(), tensor_values(tensors), kv_dtype)


def dump_tensors(tensors: Mapping[str, Tensor]) -> dict[str, tuple[Any, ...]]:
    """Tensors as comparable values."""
    return {name: (t.shape, t.encoding, t.data.tobytes(), t.scale) for name, t in tensors.items()}


def block_scales_at(encoding: Encoding) -> tuple[int, ...]:
    """Offsets of the float16 numbers in a block, for encodings that have some."""
    return (HALFS_AT | {Encoding.TQ1_0: (52,), Encoding.TQ2_0: (64,)}).get(encoding, ())


def random_blocks(encoding: Encoding, rows: int = 3, columns: int = 512) -> Tensor:
    """A matrix of random bytes with block scales that are finite."""
    data = np.random.default_rng(1).integers(0, 256, encoding.data_bytes((rows, columns)), np.uint8)
    blocks = data.reshape(-1, encoding.block_bytes)
    for index, at in enumerate(block_scales_at(encoding)):
        d = np.random.default_rng(index).uniform(-0.01, 0.01, len(blocks)).astype("<f2")
        blocks[:, at : at + 2] = d.view(np.uint8).reshape(-1, 2)
    return Tensor("w", (rows, columns), encoding, data)


def documents(paths: list[Path]) -> list[str]:
    """The whole documents of a corpus."""
    return ["".join(parts) for parts in document_parts(paths)]
