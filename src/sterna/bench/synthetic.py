"""Random models in the shape of published ones, made in memory to measure speed; their text means nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sterna.checkpoint import Checkpoint
from sterna.errors import ArgumentError
from sterna.model.config import ModelConfig
from sterna.model.validate import tensor_shapes
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import Tensor

# architecture, hidden_size, intermediate_size, layers, heads, kv heads, vocabulary
SHAPES: dict[str, tuple[str, int, int, int, int, int, int]] = {
    "700M": ("bitnet", 1536, 4096, 24, 16, 16, 32002),
    "2B4T": ("bitnet-b1.58", 2560, 6912, 30, 20, 5, 128256),
    "3B": ("bitnet", 3200, 8640, 26, 32, 32, 32002),
    "llama-1b": ("llama", 2048, 8192, 16, 32, 8, 128256),
    "falcon3-1b": ("llama", 2048, 8192, 18, 8, 4, 131072),
    "8B": ("llama", 4096, 14336, 32, 32, 8, 128256),
    # One layer of a dense model of 100 billion parameters in 80 layers; the head is small, so that the layer dominates.
    "100B-layer": ("llama", 10240, 28672, 1, 80, 8, 4096),
}
CONTEXT_LENGTH = 4096
PATTERN_BYTES = 1 << 20
HALFS_AT: dict[Encoding, tuple[int, ...]] = {
    Encoding.Q4_0: (0,),
    Encoding.Q4_1: (0, 2),
    Encoding.Q5_0: (0,),
    Encoding.Q5_1: (0, 2),
    Encoding.Q8_0: (0,),
    Encoding.Q2_K: (80, 82),
    Encoding.Q3_K: (108,),
    Encoding.Q4_K: (0, 2),
    Encoding.Q5_K: (0, 2),
    Encoding.Q6_K: (208,),
    Encoding.IQ4_NL: (0,),
    Encoding.Q2_0: (0,),
    Encoding.PQ2_0: (0,),
    Encoding.PTQ1_0: (26,),
    Encoding.Q1_0: (0,),
    Encoding.STQ1_0: (40,),
}
"""Byte offsets of the float16 numbers (scales and minima) in a block."""


def synthetic_checkpoint(name: str) -> Checkpoint:
    """A model of a published shape: random ternary matrices, 40 % zeros, and a tied head in Q6_K.

    `name`: SHAPE, or SHAPE:ENCODING for matrices of random blocks in a block format (`llama-1b:q4_k`). Raises
    `ArgumentError` for an unknown name.
    """
    shape, _, encoding_name = name.partition(":")
    if shape not in SHAPES:
        raise ArgumentError(f"There is no synthetic shape '{shape}'; these are: {', '.join(SHAPES)}.")
    encodings = {encoding.value: encoding for encoding in HALFS_AT} | {"": Encoding.I2_S}
    if encoding_name not in encodings:
        raise ArgumentError(f"There are no random blocks in '{encoding_name}'; there are: {', '.join(HALFS_AT)}.")
    architecture, hidden_size, intermediate_size, num_layers, num_heads, num_kv_heads, vocab_size = SHAPES[shape]
    config = ModelConfig(
        architecture=architecture,
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=hidden_size // num_heads,
        context_length=CONTEXT_LENGTH,
        rms_norm_eps=1e-5,
        rope_theta=500000.0,
        rope_style="half",
        activation="relu2" if architecture == "bitnet-b1.58" else "silu",
        tied_head=True,
    )
    rng = np.random.default_rng(0)
    tensors = {
        name: _tensor(name, shape, encodings[encoding_name], rng) for name, shape in tensor_shapes(config).items()
    }
    return Checkpoint(config, tensors, {}, Path(f"synthetic {name}"))


def _tensor(name: str, shape: tuple[int, ...], encoding: Encoding, rng: np.random.Generator) -> Tensor:
    if len(shape) == 1:
        return Tensor(name, shape, Encoding.F32, np.ones(shape, np.float32).view(np.uint8))
    count = shape[0] * shape[1]
    if not name.startswith("blk."):
        encoding = Encoding.Q6_K if shape[1] % 256 == 0 else Encoding.F16
    if encoding is Encoding.I2_S:
        codes = rng.choice(np.arange(3, dtype=np.uint8), (4, PATTERN_BYTES), p=[0.3, 0.4, 0.3])
        pattern = codes[0] << 6 | codes[1] << 4 | codes[2] << 2 | codes[3]
        return Tensor(name, shape, Encoding.I2_S, np.resize(pattern, count // 4), shape[1] ** -0.5)
    if encoding in HALFS_AT:
        blocks = rng.integers(0, 256, (PATTERN_BYTES // encoding.block, encoding.block_bytes), np.uint8)
        for at in HALFS_AT[encoding]:
            blocks[:, at : at + 2] = np.array([2e-5], np.float16).view(np.uint8)
        return Tensor(name, shape, encoding, np.resize(blocks, encoding.data_bytes(shape)))
    values = (rng.standard_normal(PATTERN_BYTES) * 0.02).astype(np.float16)
    return Tensor(name, shape, Encoding.F16, np.resize(values, count).view(np.uint8))
