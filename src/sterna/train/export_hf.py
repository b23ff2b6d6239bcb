"""A trained decoder to a folder that `transformers` loads as `BitNetForCausalLM`: packed ternary safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from sterna.checkpoint.atomic import atomic_write
from sterna.checkpoint.decode import decode
from sterna.checkpoint.hf import canonical_names
from sterna.checkpoint.tensor import Encoding, Tensor
from sterna.model.config import ModelConfig
from sterna.ternary import pack_hf, unpack_i2s
from sterna.train.data import END_OF_TEXT, END_OF_TEXT_ID
from sterna.train.export import ternary_tensors
from sterna.train.model import Decoder


def hf_config(config: ModelConfig) -> dict[str, Any]:
    """`config.json`. The linear class is named, because its default divides by `weight_scale` where ours multiplies."""
    return {
        "architectures": ["BitNetForCausalLM"],
        "model_type": "bitnet",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "hidden_act": config.activation,
        "tie_word_embeddings": config.tied_head,
        "bos_token_id": END_OF_TEXT_ID,
        "eos_token_id": END_OF_TEXT_ID,
        "torch_dtype": "float32",
        "quantization_config": {
            "quant_method": "bitnet",
            "linear_class": "autobitlinear",
            "quantization_mode": "offline",
            "modules_to_not_convert": ["lm_head"],
        },
    }


def _arrays(tensor: Tensor, name: str) -> dict[str, np.ndarray]:
    """A tensor as the folder stores it: float32, or packed codes [out/4, in] and their `weight_scale` [1]."""
    if tensor.encoding is Encoding.I2_S:
        packed = pack_hf(unpack_i2s(tensor.data, tensor.shape))
        return {name: packed, f"{name}_scale": np.array([tensor.scale], np.float32)}
    return {name: decode(tensor)}


def export_hf(folder: Path, model: Decoder, tokenizer: Path) -> None:
    """Write model, `tokenizer` (a tokenizer.json) and their configs into `folder`, each file atomically."""
    names = {canonical: name for name, canonical in reversed(canonical_names(model.config.num_layers).items())}
    arrays: dict[str, np.ndarray] = {}
    for tensor in ternary_tensors(model):
        arrays |= _arrays(tensor, names[tensor.name])
    special = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT}
    tokenizer_config = {"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": True, **special}
    generation_config = {"bos_token_id": END_OF_TEXT_ID, "eos_token_id": END_OF_TEXT_ID}
    files = {
        "model.safetensors": save(arrays, metadata={"format": "pt"}),
        "tokenizer.json": tokenizer.read_bytes(),
        "config.json": _json(hf_config(model.config)),
        "tokenizer_config.json": _json(tokenizer_config | {"model_max_length": model.config.context_length}),
        "generation_config.json": _json(generation_config),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        with atomic_write(folder / name) as file:
            file.write(data)


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"
