"""Opens a GGUF file as a model: its metadata keys, whose meaning depends on the architecture, become a ModelConfig."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from sterna.checkpoint.checkpoint import Checkpoint, about, check, ready_norm
from sterna.checkpoint.gguf.hadamard import read_hadamard
from sterna.checkpoint.gguf.rope import ROPE_FACTORS, read_scaling
from sterna.errors import FormatError, UnsupportedError, listed, warn
from sterna.files.gguf.metadata import Keys
from sterna.files.gguf.reader import read_gguf
from sterna.model.architecture import MAX_LAYERS, Fields
from sterna.model.architectures import GGUF_VARIANTS
from sterna.model.config import ModelConfig
from sterna.tensor.decode import decode
from sterna.tensor.encodings import Encoding
from sterna.tensor.pages import release
from sterna.tensor.tensor import AnyTensor, Tensor, TensorStream
from sterna.tensor.ternary import in_x86_layout, q4_0_of_q1_0

POOLING = {0: "last", 1: "mean", 2: "cls", 3: "last", 4: "rank"}
"""`ModelConfig.pooling` by `pooling_type`. 0 (none) leaves the choice to the reader: the last token's row."""

NO_MODELS = {
    "adapter": "an adapter (LoRA)",
    "mmproj": "a projector of images",
    "imatrix": "an importance matrix",
}
"""What files are that are no models, by `general.type`."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "rope.scaling.yarn_ext_factor": (1,),
    "rope.scaling.yarn_log_multiplier": (0,),
    "attention.causal": (True,),
    "attention.scale": (0,),
    "attention.clamp_kqv": (0,),
    "attention.max_alibi_bias": (0,),
    "attn_logit_softcapping": (0,),
    "final_logit_softcapping": (0,),
    "logit_scale": (0, 1),
    "residual_scale": (0, 1),
    "embedding_scale": (0, 1),
    "expert_count": (0,),
    "use_parallel_residual": (False,),
}
"""Keys that change the mathematics, with the values at which they have no effect."""


def open_gguf(path: str | os.PathLike[str], i2s_layout: str = "x86") -> Checkpoint:
    """The model in a GGUF file; raises as `read_gguf` does, and for a model that Sterna cannot run (FormatError,
    UnsupportedError). `i2s_layout` as in `open_checkpoint`."""
    file = read_gguf(path)
    with about(file.path):
        config = read_config(file.metadata, file.tensors, file.unsupported)
        tensors = _fold_scales(file.tensors)
        absorbed = {name: tensors.pop(name) for name in (ROPE_FACTORS,) if name in tensors}
        if config.tied_head:
            tensors.pop("output.weight", None)
        extra = [name for name in tensors if _layer(name) >= config.num_layers]
        if extra and any(_DRAFTER in name for name in extra):
            warn(f"{file.path} has layers that draft tokens (MTP), which Sterna passes over: {listed(extra)}.")
            tensors = {name: tensor for name, tensor in tensors.items() if name not in extra}
        check(config, tensors)
        ready = {name: _ready(tensor, i2s_layout) for name, tensor in tensors.items()}
    latent = config.architecture.startswith("bitnet")
    return Checkpoint(config, ready, file.metadata, file.path, "gguf", latent, absorbed)


_DRAFTER = ".nextn."
"""Part of the names of tensors that only a layer of a drafter has (multi-token prediction)."""


def _layer(name: str) -> int:
    """The layer of a tensor, -1 for one outside layers."""
    part, number, _ = (*name.split(".", 2), "", "")[:3]
    return int(number) if part == "blk" and number.isascii() and number.isdigit() and len(number) < 6 else -1


def decoder_layers(keys: Keys, tensors: Collection[str]) -> int:
    """The layers of a model without those of its drafter, which come last and may count among its blocks."""
    count, drafting = keys.integer("block_count"), keys.integer("nextn_predict_layers", 0)
    drafters = [_layer(name) for name in tensors if _DRAFTER in name]
    if 0 < drafting <= count and max(map(_layer, tensors), default=-1) < count - drafting:
        return count - drafting  # the file has been freed of its drafter
    return min([count, *(layer for layer in drafters if layer >= 0)])


def _ready(tensor: Tensor, i2s_layout: str) -> AnyTensor:
    """A norm in float32; a matrix as it is, or as a stream that converts I2_S of another layout to that of x86, or Q1_0
    in blocks of 32 to Q4_0."""
    if len(tensor.shape) == 1:
        return ready_norm(tensor)
    if tensor.encoding is Encoding.Q1_0_G32:
        return TensorStream(tensor.name, tensor.shape, Encoding.Q4_0, lambda: (q4_0_of_q1_0(tensor),))
    if tensor.encoding is not Encoding.I2_S or i2s_layout == "x86":
        return tensor

    def make() -> Iterator[Tensor]:
        yield in_x86_layout(tensor, i2s_layout)
        release(tensor.data)

    return TensorStream(tensor.name, tensor.shape, Encoding.I2_S, make)


def read_config(
    metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], unsupported: Mapping[str, str]
) -> ModelConfig:
    """ModelConfig from metadata; the vocabulary size is that of the embedding."""
    name, kind = metadata.get("general.architecture"), metadata.get("general.type", "model")
    if isinstance(kind, str) and kind in NO_MODELS:
        raise UnsupportedError(f"it is {NO_MODELS[kind]}, not a model: give the model's own file.")
    if not isinstance(name, str) or name not in GGUF_VARIANTS:
        raise UnsupportedError(f"its architecture is {name!r}, and Sterna knows {', '.join(GGUF_VARIANTS)}.")
    architecture, variant = GGUF_VARIANTS[name]
    for tensor, kind in unsupported.items():
        raise UnsupportedError(f"its tensor {tensor!r} has the type {kind}, which Sterna does not read.")
    keys = Keys(metadata, name)
    for key, accepted in NEUTRAL.items():
        if keys.get(key, accepted[0]) not in accepted:
            raise UnsupportedError(f"Sterna does not do what {name}.{key} = {keys.get(key)!r} asks for.")
    if "token_embd.weight" not in tensors:
        raise FormatError("it has no tensor token_embd.weight (a vocabulary without a model?).")
    vocab_size = tensors["token_embd.weight"].shape[0]
    if keys.integer("vocab_size", vocab_size) != vocab_size:
        raise FormatError(
            f"its vocabulary size {keys.integer('vocab_size')} is not that of its embedding, {vocab_size}."
        )

    hidden_size, num_heads = keys.integer("embedding_length"), keys.integer("attention.head_count")
    head_dim = keys.integer("attention.key_length", hidden_size // max(num_heads, 1))
    rotary_dim = keys.integer("rope.dimension_count", head_dim)
    if architecture.partial_rotary == 1 and rotary_dim != head_dim:
        raise UnsupportedError(f"its rope.dimension_count is {rotary_dim}, and Sterna needs the head size, {head_dim}.")
    if keys.integer("attention.value_length", head_dim) != head_dim:
        raise UnsupportedError(
            f"its attention.value_length is {keys.integer('attention.value_length')}, and Sterna needs the head size, "
            f"{head_dim}."
        )
    context_length, num_layers = keys.integer("context_length"), decoder_layers(keys, tensors)
    window = keys.integer("attention.sliding_window", 0) or None
    theta = keys.number("rope.freq_base", 10000.0)
    divisors, attention_factor = read_scaling(keys, tensors.get(ROPE_FACTORS), theta, rotary_dim, context_length)
    activation = keys.get("hidden_activation", variant.activation)
    if activation not in ("relu2", "silu", variant.activation):
        raise UnsupportedError(f"its hidden_activation is {activation!r}, which Sterna does not know.")
    fields: Fields = {
        "architecture": architecture.name,
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "intermediate_size": keys.integer("feed_forward_length"),
        "num_layers": min(num_layers, MAX_LAYERS + 1),  # `check_config` refuses more
        "num_heads": num_heads,
        "num_kv_heads": keys.integer("attention.head_count_kv", num_heads),
        "head_dim": head_dim,
        "context_length": context_length,
        "sliding_window": window,
        "sliding_layers": tuple(range(min(num_layers, MAX_LAYERS))) if window else (),
        "rms_norm_eps": keys.number("attention.layer_norm_rms_epsilon"),
        "rope_theta": theta,
        "rope_style": variant.rope_style,
        "rotary_dim": None if rotary_dim == head_dim else rotary_dim,
        "activation": activation,
        "tied_head": variant.tied_head or "output.weight" not in tensors,
        "pooling": POOLING.get(keys.integer("pooling_type", 0), "unknown"),
        "rope_divisors": divisors,
        "rope_attention_factor": attention_factor,
        "hadamard": read_hadamard(metadata, tensors),
    }
    return ModelConfig(**{**fields, **architecture.read_gguf(keys, fields)})


def _is_scale(name: str) -> bool:
    """Whether a tensor is the scale of a ternary matrix: `blk.0.attn_q.scale` (older `bitnet` files), or
    `blk.0.attn_q.weight_scale` (TL1 and TL2)."""
    return name.endswith((".scale", ".weight_scale"))


def _fold_scales(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without separate scales: each of these is multiplied into the scale of its ternary matrix."""
    folded = {name: tensor for name, tensor in tensors.items() if not _is_scale(name)}
    for name in tensors.keys() - folded.keys():
        factor, matrix = tensors[name], name[: name.rindex(".") + 1] + "weight"
        if matrix not in folded or not folded[matrix].encoding.is_ternary:
            raise UnsupportedError(f"its tensor {name!r} scales a matrix that is not ternary.")
        if factor.shape != (1,) or factor.encoding is not Encoding.F32:
            raise FormatError(f"its tensor {name!r} is not one float32 number.")
        folded[matrix] = replace(folded[matrix], scale=folded[matrix].scale * float(decode(factor)[0]))
    return folded
