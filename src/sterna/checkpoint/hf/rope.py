"""Rotary embedding in a `config.json`: `rope_theta`, `rope_scaling`, and `rope_parameters` of transformers 5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sterna.errors import FormatError, UnsupportedError
from sterna.files.json_values import integer, mapping, number
from sterna.model.rope import linear_divisors, llama3_divisors, yarn_attention_factor, yarn_divisors

MAX_HEAD_DIM = 1 << 12


@dataclass(frozen=True)
class Rope:
    """The rotary embedding of a model, as ModelConfig keeps it."""

    theta: float
    local_theta: float | None
    """Theta of the local layers (sliding attention); None where the file gives none."""
    context_length: int
    """`max_position_embeddings`, or the original context as YaRN extends it, if that is longer."""
    rotary_dim: int
    """How many dimensions of a head are rotated."""
    divisors: tuple[float, ...] | None = None
    attention_factor: float = 1.0


def read_rope(raw: Mapping[str, Any], head_dim: int, default_theta: float, default_share: float = 1.0) -> Rope:
    """The rotary embedding of a `config.json`. `default_share`: the share of a head that is rotated where the file does
    not say; 1: no other share is known.

    Raises UnsupportedError for a scaling that Sterna does not know, FormatError for impossible numbers.
    """
    parameters = mapping(raw, "rope_parameters")
    local = mapping(parameters, "sliding_attention")
    keys = {**mapping(raw, "rope_scaling"), **(mapping(parameters, "full_attention") or parameters)}
    said = keys.get("partial_rotary_factor", raw.get("partial_rotary_factor"))
    share = default_share if said is None else number(said, "partial_rotary_factor")
    if default_share == 1 and share != 1:
        raise UnsupportedError("its RoPE has a partial_rotary_factor, and Sterna rotates whole heads.")
    if not 0 < share <= 1:
        raise FormatError(f"its partial_rotary_factor is {share}.")
    rotary_dim = int(head_dim * share)
    theta = number(keys.get("rope_theta") or raw.get("rope_theta") or default_theta, "rope_theta")
    local_theta = local.get("rope_theta") or raw.get("rope_local_base_freq")
    local_theta = None if local_theta is None else number(local_theta, "rope_local_base_freq")
    if local.get("rope_type", "default") != "default":
        raise UnsupportedError("its local layers scale their RoPE, which Sterna does not do.")
    context_length = integer(raw, "max_position_embeddings", 2048)
    kind = keys.get("rope_type") or keys.get("type") or "default"
    if kind == "default":
        return Rope(theta, local_theta, context_length, rotary_dim)
    if not (1 < theta < float("inf") and 0 < rotary_dim <= MAX_HEAD_DIM):
        raise FormatError(f"its rope_theta {theta} or its head size {head_dim} is out of bounds.")

    def positive(key: str, default: float | None = None) -> float:
        value = number(default if keys.get(key) is None else keys[key], key)
        if not 0 < value < float("inf"):
            raise FormatError(f"its {key} is {value}.")
        return value

    match kind:
        case "linear":
            divisors = linear_divisors(rotary_dim, positive("factor"))
            return Rope(theta, local_theta, context_length, rotary_dim, divisors)
        case "llama3":
            low, high = positive("low_freq_factor"), positive("high_freq_factor")
            if low >= high:
                raise FormatError(f"its low_freq_factor {low} is not below its high_freq_factor {high}.")
            original = positive("original_max_position_embeddings")
            divisors = llama3_divisors(
                theta, rotary_dim, factor=positive("factor"), low=low, high=high, original_context=original
            )
            return Rope(theta, local_theta, context_length, rotary_dim, divisors)
        case "yarn":
            original = positive("original_max_position_embeddings", context_length)
            factor = positive("factor", context_length / original)
            divisors = yarn_divisors(
                theta,
                rotary_dim,
                factor=factor,
                original_context=original,
                beta_fast=positive("beta_fast", 32.0),
                beta_slow=positive("beta_slow", 1.0),
                truncate=keys.get("truncate") is not False,
            )
            strengths = [number(keys.get(key) or 0, key) for key in ("mscale", "mscale_all_dim")]
            factors = [yarn_attention_factor(factor, strength or 1.0) for strength in strengths]
            computed = factors[0] / factors[1] if all(strengths) else yarn_attention_factor(factor)
            # Files give the original context, the extended one, or both; the result is the extended one.
            extended = max(context_length, int(min(original * factor, 1 << 53)))
            return Rope(theta, local_theta, extended, rotary_dim, divisors, positive("attention_factor", computed))
        case other:
            raise UnsupportedError(f"its rope_type is {other!r}, and Sterna knows default, linear, llama3 and yarn.")
