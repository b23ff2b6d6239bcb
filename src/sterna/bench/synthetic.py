"""Random models in the shape of published ones, made in memory to measure speed; their text means nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from sterna.checkpoint import Checkpoint
from sterna.errors import ArgumentError
from sterna.model.config import ModelConfig
from sterna.model.delta_net import DeltaNet
from sterna.model.hadamard import Hadamard
from sterna.model.validate import tensor_shapes
from sterna.tensor.encode import encode
from sterna.tensor.encodings import Encoding, TernaryBlocks
from sterna.tensor.tensor import Tensor


@dataclass(frozen=True)
class Shape:
    """The shape of a published model, and how its matrices are kept."""

    architecture: str
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    vocab_size: int
    encoding: Encoding = Encoding.I2_S
    tied_head: bool = True
    head_dim: int | None = None
    """None: the heads of q together are as wide as the hidden rows."""
    value_heads: int | None = None
    """Of the gated delta nets (16 key heads, heads of 128) that three of four layers have; None: all have attention."""
    rotated: int | None = None
    """How many columns of ternary matrices' activations are rotated together; None: they are not."""

    @property
    def delta_net(self) -> DeltaNet | None:
        """The delta nets of a hybrid."""
        if self.value_heads is None:
            return None
        layers = tuple(layer for layer in range(self.num_layers) if layer % 4 != 3)
        return DeltaNet(layers, 16, self.value_heads, key_dim=128, value_dim=128, conv_width=4, is_tiled=True)


SHAPES = {
    "700M": Shape("bitnet", 1536, 4096, 24, 16, 16, 32002),
    "2B4T": Shape("bitnet-b1.58", 2560, 6912, 30, 20, 5, 128256),
    "3B": Shape("bitnet", 3200, 8640, 26, 32, 32, 32002),
    "llama-1b": Shape("llama", 2048, 8192, 16, 32, 8, 128256),
    "falcon3-1b": Shape("llama", 2048, 8192, 18, 8, 4, 131072),
    "8B": Shape("llama", 4096, 14336, 32, 32, 8, 128256),
    "bonsai-1.7b": Shape("qwen3", 2048, 6144, 28, 16, 8, 151669, Encoding.PQ2_0),
    "bonsai-8b": Shape("qwen3", 4096, 12288, 36, 32, 8, 151669, Encoding.PQ2_0, tied_head=False),
    "bonsai2-4b": Shape(
        "qwen35", 2560, 9216, 32, 16, 4, 248320, Encoding.PQ2_0, head_dim=256, value_heads=32, rotated=512
    ),
    # Four layers of 64, of which the last has attention; the head is small, so that the layers dominate.
    "bonsai2-27b-layer": Shape(
        "qwen35", 5120, 17408, 4, 24, 4, 4096, Encoding.PQ2_0, False, head_dim=256, value_heads=48, rotated=1024
    ),
    # One layer of a dense model of 100 billion parameters in 80 layers; the head is small, so that the layer dominates.
    "100B-layer": Shape("llama", 10240, 28672, 1, 80, 8, 4096),
}
CONTEXT_LENGTH = 4096
PAROQUANT, ROTATIONS = "paroquant", 8
PATTERN_WEIGHTS = 1 << 20
"""Weights of a pattern that is repeated until it fills a matrix."""
FLOATS = ("ssm_alpha.weight", "ssm_beta.weight", "ssm_conv1d.weight")
"""How the names of matrices end that stay in float32."""
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
    Encoding.INT4_G32: (0, 2),
    Encoding.INT4_G64: (0, 2),
    Encoding.INT4_G128: (0, 2),
    Encoding.Q2_0: (0,),
    Encoding.PQ2_0: (0,),
    Encoding.PTQ1_0: (26,),
    Encoding.Q1_0: (0,),
    Encoding.STQ1_0: (40,),
}
"""Byte offsets of the float16 numbers (scales and minima) in a block."""


def synthetic_checkpoint(name: str) -> Checkpoint:
    """A model of a published shape: random ternary matrices, 40 % zeros, and a head in Q6_K. In Bonsai's shapes
    embedding and head are ternary too, and of each group of 128 weights 42 are zero.

    `name`: SHAPE, or SHAPE:ENCODING for matrices of random blocks in a block format (`llama-1b:q4_k`), or
    SHAPE:paroquant for INT4_G128 behind eight rotations of each matrix's input. Raises `ArgumentError` for an unknown
    name.
    """
    shape_name, _, encoding_name = name.partition(":")
    rotated = encoding_name == PAROQUANT
    encoding_name = Encoding.INT4_G128.value if rotated else encoding_name
    if shape_name not in SHAPES:
        raise ArgumentError(f"There is no synthetic shape '{shape_name}'; these are: {', '.join(SHAPES)}.")
    shape = SHAPES[shape_name]
    encodings = {encoding.value: encoding for encoding in HALFS_AT} | {"": shape.encoding}
    if encoding_name not in encodings:
        raise ArgumentError(
            f"There are no random blocks in '{encoding_name}'; there are: {', '.join([*HALFS_AT, PAROQUANT])}."
        )
    encoding = encodings[encoding_name]
    config = config_of(shape)
    sizes = tensor_shapes(config)
    if shape.rotated is not None:
        config = replace(config, hadamard=_rotation(shape.rotated, sizes, np.random.default_rng(0)))
    chosen = {name: encoding for name in sizes if name.startswith("blk.") or shape.encoding.is_group_scaled}
    tensors = _random_tensors(config, chosen)
    if rotated:
        tensors |= _pair_rotations(tensors, np.random.default_rng(1))
    return Checkpoint(config, tensors, {}, Path(f"synthetic {name}"))


def random_checkpoint(config: ModelConfig, encodings: Mapping[str, Encoding], name: str) -> Checkpoint:
    """A model of random matrices, called `name`. `encodings` has the encoding of each matrix by its name; a matrix that
    it does not have is Q6_K, or F16 where its rows do not fill blocks of Q6_K. Vectors are float32."""
    return Checkpoint(config, _random_tensors(config, encodings), {}, Path(f"synthetic {name}"))


def _random_tensors(config: ModelConfig, encodings: Mapping[str, Encoding]) -> dict[str, Tensor]:
    rng = np.random.default_rng(0)
    return {name: _tensor(name, size, encodings.get(name), rng) for name, size in tensor_shapes(config).items()}


def config_of(shape: Shape) -> ModelConfig:
    """The configuration of a model of this shape, without its rotation."""
    return ModelConfig(
        architecture=shape.architecture,
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_layers=shape.num_layers,
        num_heads=shape.num_heads,
        num_kv_heads=shape.num_kv_heads,
        head_dim=shape.head_dim or shape.hidden_size // shape.num_heads,
        context_length=CONTEXT_LENGTH,
        rms_norm_eps=1e-5,
        rope_theta=500000.0,
        rope_style="half",
        activation="relu2" if shape.architecture == "bitnet-b1.58" else "silu",
        tied_head=shape.tied_head,
        rotary_dim=64 if shape.value_heads else None,
        delta_net=shape.delta_net,
    )


def _rotation(block: int, sizes: dict[str, tuple[int, ...]], rng: np.random.Generator) -> Hadamard:
    """As in Bonsai 2: random signs, and all ternary matrices rotated."""
    ternary = {name: size for name, size in sizes.items() if len(size) == 2 and not name.endswith(FLOATS)}
    signs = {width: tuple(rng.choice((-1, 1), width).tolist()) for width in {size[1] for size in ternary.values()}}
    inverse = {"token_embd.weight"}
    weights = ternary.keys() - (inverse if "output.weight" in ternary else set())
    return Hadamard(block, frozenset(weights), frozenset(inverse), signs, values_grouped=True)


def _pair_rotations(tensors: dict[str, Tensor], rng: np.random.Generator) -> dict[str, Tensor]:
    """Random rotations, as ParoQuant has them, of the inputs of all INT4 matrices (`operations.Rotate`)."""
    rotations: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        if not tensor.encoding.is_int4:
            continue
        width, group = tensor.shape[1], tensor.encoding.block
        pairs = rng.permuted(np.broadcast_to(np.arange(group), (ROTATIONS, width // group, group)), axis=-1)
        parts = {
            "scales": np.ones(width),
            "angles": rng.uniform(-1, 1, (ROTATIONS, width // 2)),
            "pairs": (pairs + np.arange(0, width, group)[:, None]).reshape(ROTATIONS, width),
        }
        rotations |= {f"{name.removesuffix('.weight')}_rotation.{part}": values for part, values in parts.items()}
    return {name: encode(name, values, Encoding.F32) for name, values in rotations.items()}


def _tensor(name: str, shape: tuple[int, ...], encoding: Encoding | None, rng: np.random.Generator) -> Tensor:
    """A random tensor; an `encoding` of None is that of the embedding and head of a BitNet model."""
    if len(shape) == 1 or name.endswith(FLOATS):
        return _floats(name, shape, rng)
    count = shape[0] * shape[1]
    if encoding is None:
        encoding = Encoding.Q6_K if shape[1] % 256 == 0 else Encoding.F16
    if encoding is Encoding.I2_S:
        codes = rng.choice(np.arange(3, dtype=np.uint8), (4, PATTERN_WEIGHTS), p=[0.3, 0.4, 0.3])
        pattern = codes[0] << 6 | codes[1] << 4 | codes[2] << 2 | codes[3]
        return Tensor(name, shape, Encoding.I2_S, np.resize(pattern, count // 4), shape[1] ** -0.5)
    if encoding in HALFS_AT:
        return Tensor(name, shape, encoding, np.resize(_blocks(encoding), encoding.data_bytes(shape)))
    values = (rng.standard_normal(PATTERN_WEIGHTS) * 0.02).astype(np.float16)
    return Tensor(name, shape, Encoding.F16, np.resize(values, count).view(np.uint8))


def _floats(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    """Float32 values of a delta net, whose heads forget at rates from 1 % to 15 % a token, or ones."""
    if name.endswith("ssm_a"):
        values = -np.linspace(1, 16, shape[0], dtype=np.float32)
    elif name.endswith("ssm_dt.bias"):
        values = np.full(shape, np.log(np.expm1(0.01)), np.float32)
    elif name.endswith(FLOATS):
        values = rng.standard_normal(shape, np.float32) * np.float32(0.1 * shape[1] ** -0.5)
    else:
        values = np.ones(shape, np.float32)
    return Tensor(name, shape, Encoding.F32, values.reshape(-1).view(np.uint8))


@cache
def _blocks(encoding: Encoding) -> np.ndarray:
    """Random blocks of `PATTERN_WEIGHTS` weights; those of ternary encodings hold the codes that models have."""
    rng = np.random.default_rng(0)
    size, packing = (PATTERN_WEIGHTS // encoding.block, encoding.block), encoding.packing
    if isinstance(packing, TernaryBlocks) and packing.pack is not None:
        zeros = 0 if encoding is Encoding.Q1_0 else 42 / 128
        codes = rng.choice(np.array([-1, 0, 1], np.int8), size, p=[(1 - zeros) / 2, zeros, (1 - zeros) / 2])
        return packing.pack(codes, np.full(size[0], 0.02, np.float16))
    blocks = rng.integers(0, 256, (size[0], encoding.block_bytes), np.uint8)
    for at in HALFS_AT[encoding]:
        blocks[:, at : at + 2] = np.array([2e-5], np.float16).view(np.uint8)
    return blocks
