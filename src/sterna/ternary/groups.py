"""The quantiser of weights that are trained with a scale for each group of columns, as Bonsai's are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sterna.ternary.quantize import EPSILON

GROUP_SIZES = (64, 128)
"""Weights in a group, for which there are encodings."""


@dataclass(frozen=True)
class GroupQuantizer:
    """Makes the weights w of each group of `group_size` columns ternary: `w ≈ scale * codes`.

    With `zeros`, so many weights of a group become 0, those of least magnitude (more where magnitudes are equal), and
    the others -1 or 1; `zeros` of 0 makes binary weights. Without it absmean decides in the group:
    `codes = clip(round(w / mean|w|), -1, 1)`. The scale is the mean magnitude of the weights that are not 0, which is
    the best one for given codes (Ternary Weight Networks, arXiv 1605.04711), rounded to float16, as files keep it.
    `sterna.train.bitlinear.ternary_groups` computes the same bits in torch.
    """

    group_size: int
    """A power of two."""
    zeros: int | None = None

    def __call__(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Int8 codes of a float matrix [out, in] and float32 scales [out, in / group_size]."""
        groups = np.asarray(weight, np.float32).reshape(*weight.shape[:-1], -1, self.group_size)
        magnitude = np.abs(groups)
        if self.zeros is None:
            mean = np.maximum(_sum(magnitude)[..., None] / np.float32(self.group_size), EPSILON)
            codes = np.clip(np.rint(groups / mean), -1, 1)
        else:
            codes = np.where(groups < 0, np.float32(-1), np.float32(1))
            if self.zeros:
                codes[magnitude <= np.partition(magnitude, self.zeros - 1)[..., self.zeros - 1, None]] = 0
        kept = np.abs(codes)
        scales = _sum(magnitude * kept) / np.maximum(_sum(kept), np.float32(1))
        with np.errstate(over="ignore"):
            stored = scales.astype(np.float16).astype(np.float32)
        return codes.astype(np.int8).reshape(weight.shape), stored


def group_quantizer(group_size: int, zero_share: float | None = None) -> GroupQuantizer:
    """The quantiser of groups of 64 or 128 weights, of which a share is 0 (42 of 128 for 0.328, as in Bonsai).

    Raises ValueError for another size, and for a share that leaves no weight.
    """
    if group_size not in GROUP_SIZES:
        raise ValueError(f"a group has 64 or 128 weights, not {group_size}")
    if zero_share is None:
        return GroupQuantizer(group_size)
    if not 0 <= zero_share <= 1 - 1 / group_size:
        raise ValueError(f"the share of zeros lies between 0 and {1 - 1 / group_size:.3f}, and {zero_share:g} does not")
    return GroupQuantizer(group_size, round(zero_share * group_size))


def _sum(x: np.ndarray) -> np.ndarray:
    """Sums over the last axis, a power of two, by adding its halves: an order that every program can follow."""
    while x.shape[-1] > 1:
        half = x.shape[-1] // 2
        x = x[..., :half] + x[..., half:]
    return x[..., 0]
