"""Writes a ModelConfig as GGUF keys and tensors; the inverse of `read_config`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from sterna.checkpoint.gguf.rope import ROPE_FACTORS
from sterna.model.architectures import architecture_of
from sterna.model.config import ModelConfig
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import AnyTensor, Tensor

POOLING_TYPES = {"mean": 1}
"""`pooling_type` by `ModelConfig.pooling`. `last` needs no key: without it, readers take the last token's row."""
QUANTIZATION_VERSION = 2
"""Version of ggml's block formats since 2023."""


def config_keys(config: ModelConfig, name: str) -> dict[str, Any]:
    """The keys that describe a model (ggml docs/gguf.md), without those of the tokenizer and of the file."""
    architecture = architecture_of(config)
    prefix = architecture.gguf_name(config)
    keys: dict[str, Any] = {
        "general.architecture": prefix,
        "general.name": name,
        f"{prefix}.vocab_size": config.vocab_size,
        f"{prefix}.context_length": config.context_length,
        f"{prefix}.embedding_length": config.hidden_size,
        f"{prefix}.block_count": config.num_layers,
        f"{prefix}.feed_forward_length": config.intermediate_size,
        f"{prefix}.attention.head_count": config.num_heads,
        f"{prefix}.attention.head_count_kv": config.num_kv_heads,
        f"{prefix}.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        f"{prefix}.rope.dimension_count": config.rotary_dim or config.head_dim,
        f"{prefix}.rope.freq_base": config.rope_theta,
    }
    if config.head_dim * config.num_heads != config.hidden_size:
        keys |= {f"{prefix}.attention.{which}_length": config.head_dim for which in ("key", "value")}
    if config.rope_attention_factor != 1:
        keys[f"{prefix}.rope.scaling.attn_factor"] = config.rope_attention_factor
    if config.sliding_window is not None:
        keys[f"{prefix}.attention.sliding_window"] = config.sliding_window
    if config.pooling in POOLING_TYPES:
        keys[f"{prefix}.pooling_type"] = POOLING_TYPES[config.pooling]
    return keys | {f"{prefix}.{key}": value for key, value in architecture.write_gguf(config).items()}


def config_tensors(config: ModelConfig) -> list[Tensor]:
    """The part of a configuration that GGUF keeps in tensors: the divisors of RoPE's frequencies."""
    if config.rope_divisors is None:
        return []
    divisors = np.array(config.rope_divisors, np.float32)
    return [Tensor(ROPE_FACTORS, divisors.shape, Encoding.F32, divisors.view(np.uint8))]


def renamed(metadata: Mapping[str, Any], architecture: str) -> dict[str, Any]:
    """The keys of a file under another architecture's name."""
    before = metadata["general.architecture"]
    return {
        architecture + key.removeprefix(before) if key.startswith(f"{before}.") else key: value
        for key, value in metadata.items()
    } | {"general.architecture": architecture}


def file_keys(tensors: Iterable[AnyTensor]) -> dict[str, Any]:
    """The keys that name the most frequent encoding of the layers' matrices; readers go by the tensors instead."""
    counts = Counter(t.encoding for t in tensors if len(t.shape) > 1 and t.name.startswith("blk."))
    if not counts:
        return {}
    file_type = counts.most_common(1)[0][0].file_type
    version = {"general.quantization_version": QUANTIZATION_VERSION}
    return version if file_type is None else version | {"general.file_type": file_type}
