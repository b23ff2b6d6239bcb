"""What a decoder is, in numbers: the one description that checkpoints give and architectures read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelConfig:
    """Shape and constants of one decoder-only transformer.

    `architecture` is GGUF's name (`bitnet-b1.58`, `bitnet`, `llama`; `bitnet-25` reads as `bitnet-b1.58`).
    `rope_style` says how the stored q and k pair their dimensions: `half` (rotate_half, "NeoX") or `interleaved`.
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
    rms_norm_eps: float
    rope_theta: float
    rope_style: str
    activation: str
    """`relu2` or `silu`."""
    tied_head: bool
    """True where the head reads `token_embd.weight`, False where it has an `output.weight` of its own."""
    input_norm_eps: float | None = None
    """Epsilon of the RMSNorms directly before single matrices, where a model has such norms."""
