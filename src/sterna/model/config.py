"""The configuration of a decoder: every checkpoint format is read into it, and every architecture reads it."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any, get_args, get_origin, get_type_hints

from sterna.errors import FormatError
from sterna.files.json_values import MAX_INTEGER
from sterna.model.delta_net import DeltaNet
from sterna.model.hadamard import Hadamard
from sterna.model.rope import base_frequencies


@dataclass(frozen=True)
class ModelConfig:
    """Shape and constants of one decoder-only transformer.

    `architecture` is a name in `sterna.model.architectures`. `rope_style` says how the stored q and k pair their
    dimensions: `half` (rotate_half, "NeoX") or `interleaved`.
    """

    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    context_length: int
    """Most positions of a sequence that the model is made for."""
    rms_norm_eps: float
    rope_theta: float
    rope_style: str
    activation: str
    """`relu2`, `silu` or `gelu` (its tanh form)."""
    tied_head: bool
    """True where the head reads `token_embd.weight`, False where it has an `output.weight` of its own."""
    input_norm_eps: float | None = None
    """Epsilon of the RMSNorms directly before single matrices; None: `rms_norm_eps`."""
    standardize_eps: float | None = None
    """Epsilon of the LayerNorms without weights directly after the matrices of layers (OneBit); None: none."""
    embedding_scale: float = 1.0
    """Factor on the rows of the embedding."""
    rotary_dim: int | None = None
    """How many dimensions of a head are rotated, its first ones; None: all."""
    rope_divisors: tuple[float, ...] | None = None
    """Divisor of each pair's rotary frequency (context scaling, `sterna.model.rope`); None: 1."""
    rope_attention_factor: float = 1.0
    """YaRN's factor on rotated q and on rotated k."""
    query_scale: float | None = None
    """Factor on attention scores; None: `head_dim ** -0.5`."""
    sliding_window: int | None = None
    """How many positions, its own among them, a token sees in `sliding_layers`; None: all."""
    sliding_layers: tuple[int, ...] = ()
    """Layers with a window, or with a rotary embedding of their own."""
    local_rope_theta: float | None = None
    """Rotary theta of `sliding_layers`, without context scaling (Gemma 3); None: as in the other layers."""
    hadamard: Hadamard | None = None
    """Which matrices multiply rotated activations; None: none does."""
    delta_net: DeltaNet | None = None
    """The layers without attention; None: every layer has attention."""
    pooling: str = "last"
    """How an embedding is made of a text's hidden rows: `last` (from the last row) or `mean`."""

    def window(self, layer: int) -> int | None:
        """How many positions a token sees in this layer; None: all."""
        return self.sliding_window if layer in self.sliding_layers else None

    def has_local_rope(self, layer: int) -> bool:
        """Whether a layer rotates with `local_rope_theta`."""
        return self.local_rope_theta is not None and layer in self.sliding_layers

    def rope_frequencies(self, layer: int) -> list[float]:
        """Radians a position for each rotated pair of a head in this layer."""
        if self.local_rope_theta is not None and layer in self.sliding_layers:
            return base_frequencies(self.local_rope_theta, self.head_dim)
        frequencies = base_frequencies(self.rope_theta, self.rotary_dim or self.head_dim)
        if self.rope_divisors is None:
            return frequencies
        return [frequency / divisor for frequency, divisor in zip(frequencies, self.rope_divisors, strict=True)]

    def has_attention(self, layer: int) -> bool:
        """Whether a layer has attention, and not a gated delta net."""
        return self.delta_net is None or layer not in self.delta_net.layers

    @property
    def attention_scale(self) -> float:
        """Factor on dot products of q and k before the softmax.

        YaRN's factor is in it twice, for q and for k, so that neither needs to be scaled.
        """
        scale = self.head_dim**-0.5 if self.query_scale is None else self.query_scale
        return scale * self.rope_attention_factor**2


def config_from_dict(raw: object) -> ModelConfig:
    """The configuration whose `dataclasses.asdict` was written as JSON. Raises `FormatError` for anything else."""
    if not isinstance(raw, dict):
        raise FormatError("its model is no JSON object.")
    known = {field.name: field for field in fields(ModelConfig)}
    for name in raw:
        if name not in known:
            raise FormatError(f"its model has an entry {name!r}, which Sterna does not know.")
    for name, field in known.items():
        if name not in raw and field.default is MISSING:
            raise FormatError(f"its model has no {name}.")
    hints = get_type_hints(ModelConfig)
    return ModelConfig(**{name: _typed(value, hints[name], name) for name, value in raw.items()})


def _typed(value: Any, hint: Any, name: str) -> Any:
    """A JSON value in the type of a field: `kind`, `kind | None` or a tuple of any length."""
    arguments = get_args(hint)
    if type(None) in arguments:
        return None if value is None else _typed(value, arguments[0], name)
    if get_origin(hint) is tuple and type(value) is list:
        return tuple(_typed(item, arguments[0], name) for item in value)
    if hint is float and type(value) is int and abs(value) <= MAX_INTEGER:
        return float(value)
    if type(value) is not hint or (hint is int and abs(value) > MAX_INTEGER):
        raise FormatError(f"its model's {name} is not of the kind that it must be.")
    return value
