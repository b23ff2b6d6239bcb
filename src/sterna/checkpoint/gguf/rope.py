"""Context scaling of rotary embedding as GGUF files describe it (llama.cpp, src/llama-model.cpp and ggml_rope_ext)."""

from __future__ import annotations

from sterna.errors import FormatError, UnsupportedError
from sterna.files.gguf.metadata import Keys
from sterna.model.rope import linear_divisors, yarn_attention_factor, yarn_divisors
from sterna.tensor.decode import decode
from sterna.tensor.tensor import Tensor

ROPE_FACTORS = "rope_freqs.weight"
"""Tensor of the divisors of rotary frequencies, [head_dim / 2], in which llama.cpp keeps the scaling of Llama 3.1."""
MAX_HEAD_DIM = 1 << 12


def read_scaling(
    keys: Keys, factors: Tensor | None, theta: float, head_dim: int, context_length: int
) -> tuple[tuple[float, ...] | None, float]:
    """`rope_divisors` and `rope_attention_factor` of ModelConfig, from `rope.scaling.*` and the tensor of factors.

    Raises UnsupportedError for a scaling that Sterna does not know, FormatError for impossible numbers.
    """
    kind = keys.get("rope.scaling.type", "linear")
    factor = keys.number("rope.scaling.factor", keys.number("rope.scale_linear", 0.0)) or 1.0
    attention_factor = keys.number("rope.scaling.attn_factor", 1.0)
    if kind not in ("none", "linear", "yarn"):
        raise UnsupportedError(f"its rope.scaling.type is {kind!r}, and Sterna knows none, linear and yarn.")
    if factors is None and (kind == "none" or (kind == "linear" and factor == 1)):
        return None, attention_factor
    if not (0 < factor < float("inf") and 1 < theta < float("inf") and 0 < head_dim <= MAX_HEAD_DIM):
        raise FormatError("its rope.scaling.factor, rope.freq_base or head size is out of bounds.")
    divisors = linear_divisors(head_dim, factor if kind == "linear" else 1.0)
    if kind == "yarn":
        original = keys.number("rope.scaling.original_context_length", context_length)
        fast, slow = keys.number("rope.scaling.yarn_beta_fast", 32.0), keys.number("rope.scaling.yarn_beta_slow", 1.0)
        if not all(0 < value < float("inf") for value in (original, fast, slow)):
            raise FormatError("its rope.scaling keys for yarn are out of bounds.")
        divisors = yarn_divisors(
            theta, head_dim, factor=factor, original_context=original, beta_fast=fast, beta_slow=slow
        )
        attention_factor *= keys.number("rope.scaling.yarn_attn_factor", 1.0) * yarn_attention_factor(factor)
    if factors is not None:
        if factors.shape != (head_dim // 2,) or not factors.encoding.is_float:
            raise FormatError(f"its tensor {ROPE_FACTORS} is no list of {head_dim // 2} floats.")
        divisors = tuple(a * b for a, b in zip(divisors, decode(factors).tolist(), strict=True))
    return divisors, attention_factor
