"""A trained decoder to files that others run: GGUF with I2_S matrices, and packed safetensors for `transformers`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from sterna.checkpoint.gguf.writer import write_gguf
from sterna.checkpoint.tensor import Encoding, Tensor
from sterna.model.config import ModelConfig
from sterna.ternary import absmean, pack_i2s
from sterna.train.bitlinear import BitLinear
from sterna.train.model import Decoder

FILE_TYPE_I2_S = 40
"""`general.file_type` of I2_S files in bitnet.cpp; readers go by the tensors' own types."""


def ternary_tensors(model: Decoder) -> list[Tensor]:
    """The model's tensors by canonical names: matrices in I2_S (absmean), embedding in F16, norms in F32."""
    ternary = {name for name, module in model.named_modules() if isinstance(module, BitLinear)}
    tensors = []
    for name, parameter in model.state_dict().items():
        weight = parameter.cpu().numpy()
        if name.removesuffix(".weight") in ternary:
            codes, scale = absmean(weight)
            tensors.append(Tensor(name, weight.shape, Encoding.I2_S, pack_i2s(codes), scale))
        elif weight.ndim == 2:
            tensors.append(Tensor(name, weight.shape, Encoding.F16, _bytes(weight.astype(np.float16))))
        else:
            tensors.append(Tensor(name, weight.shape, Encoding.F32, _bytes(weight.astype(np.float32))))
    return tensors


def _bytes(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def gguf_metadata(config: ModelConfig, name: str) -> dict[str, Any]:
    """The keys that describe a model in GGUF (ggml docs/gguf.md), but for the tokenizer's."""
    prefix = config.architecture
    return {
        "general.architecture": prefix,
        "general.name": name,
        "general.file_type": FILE_TYPE_I2_S,
        f"{prefix}.vocab_size": config.vocab_size,
        f"{prefix}.context_length": config.context_length,
        f"{prefix}.embedding_length": config.hidden_size,
        f"{prefix}.block_count": config.num_layers,
        f"{prefix}.feed_forward_length": config.intermediate_size,
        f"{prefix}.attention.head_count": config.num_heads,
        f"{prefix}.attention.head_count_kv": config.num_kv_heads,
        f"{prefix}.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        f"{prefix}.rope.dimension_count": config.head_dim,
        f"{prefix}.rope.freq_base": config.rope_theta,
    }


def export_gguf(path: str | os.PathLike[str], model: Decoder, tokenizer: Path, name: str) -> None:
    """Write `path` from the model and a `tokenizer.json` (a folder or the file); atomic."""
    # Here, because the inference tokenizer is not needed to train.
    from sterna.model.tokenizer import Tokenizer

    metadata = gguf_metadata(model.config, name) | Tokenizer(tokenizer).gguf_metadata()
    write_gguf(path, metadata, ternary_tensors(model))
