"""The quantisers of BitNet b1.58 (arXiv 2402.17764, section 2), absmean for weights and absmax for activations, and
that of BitNet's binary weights (arXiv 2310.11453)."""

from __future__ import annotations

import numpy as np

EPSILON = np.float32(1e-5)


def absmean(weight: np.ndarray) -> tuple[np.ndarray, float]:
    """Quantises a float matrix to ternary codes and the scale that multiplies them: `weight ≈ scale * codes`.

    `scale = max(mean(|W|), 1e-5)` over the whole matrix, `codes = clip(round(W / scale), -1, 1)` (equations 1 to 3).
    Returns int8 codes of the same shape and a float that float32 holds exactly. The mean is summed in float64, so
    that it does not depend on the order of the sum.
    """
    weight = np.asarray(weight, np.float32)
    scale = np.maximum(np.float32(np.mean(np.abs(weight), dtype=np.float64)), EPSILON)
    codes = np.clip(np.rint(weight / scale), -1, 1).astype(np.int8)
    return codes, float(scale)


def binary(weight: np.ndarray) -> tuple[np.ndarray, float]:
    """Quantises a float matrix to -1 below its mean and +1 elsewhere, with the scale mean|W| (at least 1e-5).

    `codes = Sign(W - mean(W))` (BitNet, arXiv 2310.11453, equations 1 to 3 and 12). Returns int8 codes of the same
    shape and a float that float32 holds exactly.
    """
    weight = np.asarray(weight, np.float32)
    scale = np.maximum(np.float32(np.mean(np.abs(weight), dtype=np.float64)), EPSILON)
    mean = np.float32(np.mean(weight, dtype=np.float64))
    return np.where(weight < mean, -1, 1).astype(np.int8), float(scale)


def absmax(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantises activations to int8, one scale for each row of the last axis: `x ≈ codes / scale`.

    `scale = 127 / max(max|x|, 1e-5)`, `codes = clip(round(x * scale), -128, 127)`, all in float32.
    Returns int8 codes of the same shape and float32 scales of shape [..., 1].
    """
    x = np.asarray(x, np.float32)
    scale = np.float32(127) / np.maximum(np.max(np.abs(x), axis=-1, keepdims=True), EPSILON)
    codes = np.clip(np.rint(x * scale), -128, 127).astype(np.int8)
    return codes, scale


def ternary_scale(weight: np.ndarray) -> float | None:
    """The `s` of a float matrix whose values are all in {-s, 0, s}, or None where they are not (or all are 0).

    Such a matrix was quantised before: absmean would shrink its scale by its share of zeros.
    """
    magnitude = np.abs(np.asarray(weight, np.float32)).ravel()
    # Most matrices that are not ternary fail on their first values.
    for part in (magnitude[:4096], magnitude):
        scale = part.max(initial=np.float32(0))
        if not np.all((part == 0) | (part == scale)):
            return None
    return float(scale) if scale > 0 else None
