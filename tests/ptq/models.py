"""A tiny model with a tokenizer in a folder, and a text to calibrate on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from sterna.model.architectures import ARCHITECTURES
from sterna.model.validate import tensor_shapes

from .. import helpers
from ..tiny_vocabularies import byte_level_json

TEXT = "The quick brown fox jumps over the lazy dog, and the dog sleeps on. " * 40


def float_model(folder: Path, layers: int = 2, hidden: int = 128) -> Path:
    """A Llama with random float matrices, whose rows have by default one and two groups of 128 columns, and with a
    few channels that are larger than the others, as trained models have them."""
    folder.mkdir()
    vocabulary = byte_level_json()
    size = len(json.loads(vocabulary)["model"]["vocab"]) + 8
    shape = helpers.replace(
        helpers.TINY,
        architecture="llama",
        activation="silu",
        vocab_size=size,
        hidden_size=hidden,
        intermediate_size=256,
    )
    shape = helpers.replace(shape, num_heads=2, num_kv_heads=2, head_dim=hidden // 2, num_layers=layers)
    rng, names = np.random.default_rng(0), ARCHITECTURES["llama"].hf_names(shape.num_layers)
    tensors = {}
    for name, dims in tensor_shapes(shape).items():
        values = rng.standard_normal(dims) * dims[-1] ** -0.5
        if len(dims) == 1:
            values = np.where(rng.random(dims) < 0.05, 8.0, 1.0)
        tensors[names[name][0]] = values.astype(np.float16)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(helpers.hf_config(shape, "LlamaForCausalLM")))
    (folder / "tokenizer.json").write_text(vocabulary)
    return folder


def text(folder: Path) -> Path:
    """A file to calibrate on."""
    path = folder / "text.txt"
    path.write_text(TEXT)
    return path
