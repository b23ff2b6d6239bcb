"""The model that a run begins with: opened with its latent weights, where it has them, and made a `Decoder`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sterna.checkpoint import Checkpoint, open_checkpoint
from sterna.checkpoint.hf.config import read_quantization
from sterna.checkpoint.hf.folder import open_hf
from sterna.errors import UnsupportedError
from sterna.files.hub.cache import resolve_model
from sterna.files.local import is_hf_folder
from sterna.finetune.matrices import matrices_of
from sterna.model.config import ModelConfig
from sterna.tensor.decode import decode, ternary_codes
from sterna.tensor.recode import half_order
from sterna.tensor.tensor import AnyTensor, Tensor, whole
from sterna.ternary.groups import GROUP_SIZES, GroupQuantizer
from sterna.ternary.quantization import Quantization
from sterna.train.bitlinear import BitLinear
from sterna.train.config import TRAINED
from sterna.train.model import GATES, Decoder, Linear

FINE_TUNED = (*TRAINED, "qwen2")
"""The architectures that `Decoder` computes with the weights of others."""
NEUTRAL = {
    "standardize_eps": None,
    "embedding_scale": 1.0,
    "rotary_dim": None,
    "sliding_window": None,
    "local_rope_theta": None,
    "hadamard": None,
    "delta_net": None,
}
"""What `Decoder` does not compute, and the value without it."""


def open_base(folder: Path, name: str) -> Checkpoint:
    """The model called `name`: a path relative to `folder`, else what `resolve_model` knows.

    Raises as `open_checkpoint` does.
    """
    path = resolve_model(folder / name if (folder / name).exists() else name)
    if path.is_dir() and is_hf_folder(path):
        return open_hf(path, keep_latent=True)
    return open_checkpoint(path)


def check_trainable(base: Checkpoint, context: int) -> None:
    """Raises UnsupportedError for a model that `Decoder` does not compute in rows of `context` tokens."""
    config, reasons = base.config, []
    if config.architecture not in FINE_TUNED:
        reasons.append(f"the architecture {config.architecture}, and not {', '.join(FINE_TUNED)}")
    if config.activation not in GATES:
        reasons.append(f"the activation {config.activation}")
    for name, value in NEUTRAL.items():
        windowless = name == "sliding_window" and config.sliding_window and config.sliding_window >= context
        if getattr(config, name) != value and not windowless:
            reasons.append(f"{name} = {getattr(config, name)}")
    reasons += [f"the tensor {name}" for name in base.tensors if "_rotation." in name or "_permutation." in name][:1]
    if reasons:
        raise UnsupportedError(f"{base.path} cannot be fine-tuned: it has {' and '.join(reasons)}.")
    if context > config.context_length:
        raise UnsupportedError(
            f"{base.path} cannot be fine-tuned with training.context = {context}: it is made for "
            f"{config.context_length} positions."
        )


def quantization_of(base: Checkpoint) -> Quantization:
    """How the matrices of a model are quantised: those of its layers are latent or ternary, but for some that are kept
    as floats, or nothing is.

    Raises UnsupportedError for matrices of several kinds, and for codes that are not trained.
    """
    matrices = {
        name: tensor.encoding
        for name, tensor in base.tensors.items()
        if name.startswith("blk.") and len(tensor.shape) == 2
    }
    ternary = {name: encoding for name, encoding in matrices.items() if encoding.is_ternary}
    if not ternary:
        return Quantization(kept=_unconverted(base)) if base.latent else Quantization("float", activations="float")
    kept = tuple(name for name in matrices if name not in ternary)
    blocks = {encoding.block if encoding.is_group_scaled else 0 for encoding in ternary.values()}
    if len(blocks) > 1 or not blocks <= {0, *GROUP_SIZES} or not all(matrices[name].is_float for name in kept):
        raise UnsupportedError(
            f"{base.path} cannot be fine-tuned: its matrices are not all floats, or ternary of one kind."
        )
    size = blocks.pop()
    if not size:
        return Quantization(kept=kept)
    embedding = base.tensors["token_embd.weight"].encoding.is_group_scaled
    return Quantization(groups=GroupQuantizer(size), activations="float", embedding=embedding, kept=kept)


def _unconverted(base: Checkpoint) -> tuple[str, ...]:
    """The matrices of layers that a folder of latent weights does not count as such, by their canonical names."""
    section = read_quantization(base.metadata, base.config, has_input_norms(base)) if base.kind == "hf" else None
    if section is None:
        return ()
    layers = (matrix for matrix in matrices_of(base.config) if matrix.layer is not None)
    return tuple(matrix.name for matrix in layers if not section.converts(matrix.module))


def decoder_config(config: ModelConfig) -> ModelConfig:
    """A model's config with half-split RoPE, as `Decoder` computes it."""
    return replace(config, rope_style="half")


def has_input_norms(base: Checkpoint) -> bool:
    """Whether the matrices of a model have RMSNorms of their own before them."""
    return any(name.endswith("_norm_in.weight") for name in base.tensors)


def new_decoder(
    config: ModelConfig, quantization: Quantization, input_norms: bool = False, kind: Linear = BitLinear
) -> Decoder:
    """A decoder of the shape of a base, with random weights."""
    return Decoder(decoder_config(config), quantization, input_norms, kind)


def fill(decoder: Decoder, base: Checkpoint, quantization: Quantization) -> None:
    """Gives a decoder the base's weights: every parameter of a name that the base has.

    Ternary matrices without latent weights begin with ones of which `quantization` makes the same codes and scales.
    """
    interleaved = base.config.rope_style == "interleaved"
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            if name not in base.tensors:
                continue
            values = _values(base.tensors[name], quantization)
            if interleaved and ".attn_q." in name or interleaved and ".attn_k." in name:
                values = values[half_order(len(values), base.config.head_dim)]
            parameter.copy_(torch.from_numpy(values))


def _values(stored: AnyTensor, quantization: Quantization) -> np.ndarray:
    """Float32 values of a tensor; of a ternary matrix with one scale, such whose mean magnitude is that scale."""
    tensor: Tensor = whole(stored)
    if not tensor.encoding.is_ternary or quantization.weights != "ternary" or quantization.groups is not None:
        return np.array(decode(tensor), np.float32)
    codes, scale = ternary_codes(tensor)
    share = max(float(np.count_nonzero(codes)) / codes.size, 1e-9)
    assert isinstance(scale, float)
    return codes.astype(np.float32) * np.float32(scale / share)
