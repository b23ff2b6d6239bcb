"""How sure a share of right answers is."""

from __future__ import annotations

from math import sqrt

Z95 = 1.959963984540054


def wilson(right: int, n: int) -> tuple[float, float]:
    """The interval of 95 % for a share (Wilson, JASA 22, 1927): where `right` of `n` draws were right, the true share
    is in it with that probability. (0, 1) without a draw."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = right / n, Z95 * Z95
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, middle - half), min(1.0, middle + half)
