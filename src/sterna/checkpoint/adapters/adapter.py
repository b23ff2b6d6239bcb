"""Adapters: low-rank updates of a model's matrices, y = W x + scale * B (A x) (LoRA, arXiv 2106.09685)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from sterna.errors import FormatError, UnsupportedError
from sterna.model.architecture import MATRICES
from sterna.model.architectures import architecture_of
from sterna.model.config import ModelConfig
from sterna.model.oracle import hadamard
from sterna.tensor.decode import decode
from sterna.tensor.recode import half_order, interleaved_order
from sterna.tensor.tensor import AnyTensor, whole

HEAD = "output.weight"
"""The canonical name of the output matrix, also of a model whose head is its embedding."""


@dataclass(frozen=True, eq=False)
class LowRank:
    """The update of one matrix: `a` float32 [rank, in], `b` float32 [out, rank]."""

    a: np.ndarray
    b: np.ndarray
    scale: float
    """alpha / rank, or alpha / sqrt(rank) where the file says so (rsLoRA, arXiv 2312.03732)."""

    @property
    def rank(self) -> int:
        return len(self.a)

    @property
    def alpha(self) -> float:
        """What is to be divided by the rank to get the scale."""
        return self.scale * self.rank

    def delta(self) -> np.ndarray:
        """What is added to the matrix: float32 [out, in]."""
        product: np.ndarray = (self.b @ self.a) * np.float32(self.scale)
        return product


@dataclass(frozen=True, eq=False)
class Adapter:
    """Updates by the canonical name of their matrix (`blk.0.attn_q.weight`, `output.weight`).

    The rows of q and k pair dimensions as Hugging Face folders do (`half`); columns are those of activations that are
    neither rotated nor sorted. `base`: what the adapter's file calls the model that it was trained on.
    """

    updates: Mapping[str, LowRank]
    base: str = ""


def check_adapter(adapter: Adapter, config: ModelConfig) -> None:
    """Raises FormatError for updates that do not fit a model's matrices or are not finite, UnsupportedError for
    matrices that Sterna does not adapt."""
    for name, update in adapter.updates.items():
        shape = _shape(name, config)
        if update.b.shape[0] != shape[0] or update.a.shape[1] != shape[1]:
            raise FormatError(
                f"it is an adapter of another model, whose {name} is a matrix of {update.b.shape[0]} x "
                f"{update.a.shape[1]}; this model's is of {shape[0]} x {shape[1]}."
            )
        if update.rank == 0 or update.b.shape[1] != update.rank:
            raise FormatError(f"its A and B for {name} have the ranks {update.rank} and {update.b.shape[1]}.")
        if not (np.isfinite(update.a).all() and np.isfinite(update.b).all() and np.isfinite(update.scale)):
            raise FormatError(f"its update of {name} has numbers that are not finite.")


def _shape(name: str, config: ModelConfig) -> tuple[int, ...]:
    """(out, in) of a matrix of a model."""
    if name == HEAD:
        return config.vocab_size, config.hidden_size
    layer, _, in_layer = name.removeprefix("blk.").partition(".")
    if not name.startswith("blk.") or not layer.isdecimal() or int(layer) >= config.num_layers:
        raise FormatError(f"it adapts {name}, which this model of {config.num_layers} layers does not have.")
    shape = architecture_of(config).layer_shapes(config, int(layer)).get(in_layer)
    if shape is None or len(shape) != 2:
        raise FormatError(f"it adapts {name}, which is no matrix of this model's layer {layer}.")
    if in_layer.removesuffix(".weight") not in MATRICES:
        raise UnsupportedError(f"it adapts {name}, and Sterna adapts {', '.join(MATRICES)} and output alone.")
    return shape


def in_model(adapter: Adapter, config: ModelConfig, tensors: Mapping[str, AnyTensor]) -> Adapter:
    """The adapter with its rows and columns in the order of a model's own `tensors`.

    Raises UnsupportedError for an update of a matrix whose input is rotated or scaled by tensors of its own
    (`operations.Rotate`), or whose output is standardised.
    """
    updates = {name: _in_model(name, low, config, tensors) for name, low in adapter.updates.items()}
    return replace(adapter, updates=updates)


def _in_model(name: str, low: LowRank, config: ModelConfig, tensors: Mapping[str, AnyTensor]) -> LowRank:
    matrix = name.removesuffix(".weight")
    if config.standardize_eps is not None and name != HEAD:
        raise UnsupportedError(f"This model standardises the product of {name}: Sterna adds no adapter to it.")
    if f"{matrix}_rotation.scales" in tensors:
        raise UnsupportedError(
            f"This model rotates the input of {name}, which Sterna does not do for an adapter: make a model without "
            "rotations of it (sterna convert), and use the adapter with that."
        )
    order = tensors.get(f"{matrix}_permutation.order")
    if order is not None:
        low = replace(low, a=low.a[:, decode(whole(order)).astype(np.int64)])
    if config.rope_style == "interleaved" and is_rotary(name):
        low = replace(low, b=low.b[interleaved_order(len(low.b), config.head_dim)])
    rotation, width = config.hadamard, low.a.shape[1]
    stored = "token_embd.weight" if name == HEAD and config.tied_head else name
    if rotation is not None and stored in rotation.weights:
        signs = np.array(rotation.signs.get(width, (1,) * width), np.float32)
        low = replace(low, a=hadamard(low.a * signs, rotation.block_size))
    return low


def out_of_model(adapter: Adapter, config: ModelConfig) -> Adapter:
    """The inverse of `in_model`, for models whose inputs are neither rotated nor sorted."""
    updates = {
        name: replace(low, b=low.b[half_order(len(low.b), config.head_dim)])
        if config.rope_style == "interleaved" and is_rotary(name)
        else low
        for name, low in adapter.updates.items()
    }
    return replace(adapter, updates=updates)


def is_rotary(name: str) -> bool:
    """Whether a matrix's rows are rotated by RoPE, so that their order differs between files."""
    return name.endswith((".attn_q.weight", ".attn_k.weight"))
