"""The memory model of energy: what it takes to bring the bytes of a pass from memory."""

from __future__ import annotations

PICOJOULES_A_BIT = (5.0, 10.0)
"""Of DRAM with its interface: LPDDR and DDR4 or DDR5 lie between these. Figures of data sheets and papers differ by
more than the two."""


def joules(size: float) -> tuple[float, float]:
    """Least and most joules for `size` bytes: bytes · 8 · pJ/bit."""
    least, most = PICOJOULES_A_BIT
    return size * 8 * least * 1e-12, size * 8 * most * 1e-12
