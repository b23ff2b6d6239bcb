"""Checks a model's configuration and tensors, from any file format, before anything runs on them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sterna.errors import FormatError, UnsupportedError
from sterna.model.architecture import matrix_shapes
from sterna.model.architectures import architecture_of
from sterna.model.config import ModelConfig
from sterna.model.delta_net import DeltaNet
from sterna.tensor.tensor import AnyTensor, Tensor

LIMITS: dict[str, tuple[float, float]] = {
    "vocab_size": (1, 1 << 22),
    "hidden_size": (2, 1 << 20),
    "intermediate_size": (1, 1 << 20),
    "num_layers": (1, 1 << 10),
    "num_heads": (1, 1 << 12),
    "num_kv_heads": (1, 1 << 12),
    "head_dim": (2, 1 << 12),
    "rotary_dim": (2, 1 << 12),
    "context_length": (1, 1 << 24),
    "sliding_window": (1, 1 << 24),
    "rms_norm_eps": (1e-30, 1),
    "input_norm_eps": (1e-30, 1),
    "standardize_eps": (1e-30, 1),
    "rope_theta": (1, 1e12),
    "local_rope_theta": (1, 1e12),
    "rope_attention_factor": (1e-6, 1e6),
    "embedding_scale": (1e-6, 1e6),
    "query_scale": (1e-6, 1e6),
}

DELTA_LIMITS = {
    "key_heads": (1, 1 << 12),
    "value_heads": (1, 1 << 12),
    "key_dim": (1, 1 << 10),
    "value_dim": (1, 1 << 10),
    "conv_width": (2, 8),
}

FLOAT32_MAX = float(np.finfo(np.float32).max)


def check_config(config: ModelConfig) -> None:
    """Raises FormatError for numbers that no model has, UnsupportedError for an unknown architecture or activation."""
    architecture = architecture_of(config)
    if config.activation not in ("relu2", "silu", "gelu"):
        raise UnsupportedError(f"Sterna does not know the activation {config.activation!r}.")
    for name, (least, most) in LIMITS.items():
        value = getattr(config, name)
        if value is None:
            continue
        if not least <= value <= most:  # true for NaN, too
            raise FormatError(f"The model's {name} is {value}, which is out of bounds.")
    if config.num_heads % config.num_kv_heads:
        raise FormatError(f"{config.num_heads} heads cannot share {config.num_kv_heads} key and value heads evenly.")
    if config.head_dim % 2:
        raise FormatError(f"The head size {config.head_dim} is odd, so RoPE cannot pair its dimensions.")
    if "attn_sub_norm" in architecture.norms and config.num_heads * config.head_dim != config.hidden_size:
        raise FormatError(f"{config.architecture} needs heads x head size = {config.hidden_size}, the hidden size.")
    rotary_dim = config.rotary_dim or config.head_dim
    if rotary_dim % 2 or rotary_dim > config.head_dim:
        raise FormatError(f"RoPE cannot rotate {rotary_dim} dimensions of a head of {config.head_dim}.")
    divisors = config.rope_divisors
    if divisors is not None and (
        len(divisors) != rotary_dim // 2 or not all(1e-6 <= value <= 1e6 for value in divisors)
    ):
        raise FormatError(f"The model's RoPE factors are not {rotary_dim // 2} numbers within bounds.")
    if config.delta_net is not None:
        check_delta_net(config.delta_net)


def check_delta_net(net: DeltaNet) -> None:
    """Raises FormatError for numbers that no delta net has."""
    for name, (least, most) in DELTA_LIMITS.items():
        if not least <= getattr(net, name) <= most:
            raise FormatError(f"The {name} of the model's delta nets is {getattr(net, name)}, which is out of bounds.")
    if net.value_heads % net.key_heads:
        raise FormatError(f"{net.value_heads} value heads cannot share {net.key_heads} key heads evenly.")


def tensor_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that the architecture needs, by canonical name."""
    embedding = (config.vocab_size, config.hidden_size)
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": embedding, "output_norm.weight": (config.hidden_size,)}
    if not config.tied_head:
        shapes["output.weight"] = embedding
    architecture = architecture_of(config)
    for index in range(config.num_layers):
        shapes |= {f"blk.{index}.{name}": shape for name, shape in architecture.layer_shapes(config, index).items()}
    return shapes


def input_norm_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The shapes of the RMSNorms that a model may have directly before single matrices."""
    matrices = matrix_shapes(config).items()
    layers = range(config.num_layers)
    return {f"blk.{index}.{name}_norm_in.weight": (shape[1],) for index in layers for name, shape in matrices}


def rotation_shapes(config: ModelConfig, tensors: Mapping[str, AnyTensor]) -> dict[str, tuple[int, ...]]:
    """The shapes of the scales, rotations and permutations that a model may have before single matrices
    (`operations.Rotate`, `Permute`). How many rotations follow each other is what a matrix's `pairs` say."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (_, width) in matrix_shapes(config).items():
        for index in range(config.num_layers):
            shapes[f"blk.{index}.{name}_permutation.order"] = (width,)
            rotation = f"blk.{index}.{name}_rotation"
            if f"{rotation}.scales" not in tensors:
                continue
            given: dict[str, tuple[int, ...]] = {"scales": (width,)}
            pairs = tensors.get(f"{rotation}.pairs")
            if pairs is not None:
                count = pairs.shape[0] if pairs.shape else 0
                given |= {"angles": (count, width // 2), "pairs": (count, width)}
                if f"{rotation}.angles" not in tensors:
                    raise FormatError(f"The model has no tensor '{rotation}.angles', which its rotation needs.")
            shapes |= {f"{rotation}.{part}": shape for part, shape in given.items()}
    return shapes


def check_tensors(config: ModelConfig, tensors: Mapping[str, AnyTensor]) -> None:
    """Raises FormatError for a tensor that is missing or has the wrong shape, UnsupportedError for an unknown one.

    An unknown tensor (a bias, RoPE factors, ...) changes the mathematics, so it is never ignored.
    """
    needed = tensor_shapes(config)
    for name in needed:
        if name not in tensors:
            raise FormatError(f"The model has no tensor {name!r}, which {config.architecture} needs.")
    known = needed | input_norm_shapes(config) | rotation_shapes(config, tensors)
    for name, tensor in tensors.items():
        if name not in known:
            raise UnsupportedError(
                f"The model has a tensor {name!r}, which Sterna does not know for {config.architecture}."
            )
        if tensor.shape != known[name]:
            shapes = f"{list(tensor.shape)} instead of {list(known[name])}"
            raise FormatError(f"The tensor {name!r} has the shape {shapes}.")
        if isinstance(tensor, Tensor) and not abs(tensor.scale) <= FLOAT32_MAX:
            raise FormatError(f"The scale of the tensor {name!r} is not finite in float32.")
        if len(tensor.shape) == 1 and not tensor.encoding.is_float:
            raise UnsupportedError(
                f"The vector {name!r} is kept as {tensor.encoding.name}, which Sterna does not read."
            )
