"""Rotary frequencies, and how models stretch them to contexts longer than they were first trained on.

Every scaling is one divisor for each rotated pair (GGUF's `rope_freqs.weight` is such a list); YaRN's is also a factor
on the attention.
"""

from __future__ import annotations

from math import ceil, floor, log, pi


def base_frequencies(theta: float, head_dim: int) -> list[float]:
    """`theta ** (-2 i / head_dim)` for each pair i of a head (RoFormer, arXiv 2104.09864, section 3.2.2)."""
    return [theta ** (-2.0 * i / head_dim) for i in range(head_dim // 2)]


def linear_divisors(head_dim: int, factor: float) -> tuple[float, ...]:
    """Positions divided by `factor` (position interpolation, arXiv 2306.15595, equation 4)."""
    return (factor,) * (head_dim // 2)


def llama3_divisors(
    theta: float, head_dim: int, *, factor: float, low: float, high: float, original_context: float
) -> tuple[float, ...]:
    """Llama 3.1's scaling (arXiv 2407.21783; `rope_type: llama3` in transformers).

    A pair that turns more than `high` times over the original context keeps its frequency, one that turns less than
    `low` times is slowed down by `factor`, and between the two the frequencies blend linearly.
    """

    def divisor(frequency: float) -> float:
        turns = original_context * frequency / (2 * pi)
        kept = 1.0 if turns > high else 0.0 if turns < low else (turns - low) / (high - low)
        return 1.0 / (kept + (1.0 - kept) / factor)

    return tuple(divisor(frequency) for frequency in base_frequencies(theta, head_dim))


def yarn_divisors(
    theta: float,
    head_dim: int,
    *,
    factor: float,
    original_context: float,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    truncate: bool = True,
) -> tuple[float, ...]:
    """YaRN's "NTK-by-parts" (arXiv 2309.00071, section 3.2): a ramp over pairs from kept to slowed down by `factor`.

    The ramp lies between the pairs that turn `beta_fast` and `beta_slow` times over the original context;
    `truncate` rounds its ends to whole pairs, as the authors' code does.
    """

    def pair_of(turns: float) -> float:
        # The logarithm of original_context / (2 pi turns), in parts: the quotient could leave the range of floats.
        return head_dim * (log(original_context) - log(turns) - log(2 * pi)) / (2 * log(theta))

    low, high = pair_of(beta_fast), pair_of(beta_slow)
    if truncate:
        low, high = floor(low), ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    width = high - low if high != low else 0.001
    slowed = [min(max((i - low) / width, 0.0), 1.0) for i in range(head_dim // 2)]
    return tuple(1.0 / (1.0 - share + share / factor) for share in slowed)


def yarn_attention_factor(factor: float, strength: float = 1.0) -> float:
    """Factor on rotated q and on rotated k (arXiv 2309.00071, equation 22): `0.1 ln(factor) + 1` for `strength` 1."""
    return 0.1 * strength * log(factor) + 1.0 if factor > 1.0 else 1.0
