"""Sizes as people read them."""

from __future__ import annotations


def readable(size: float) -> str:
    """Bytes as text: `812 bytes`, `4.1 kB`, `73.5 MB`, `1.2 GB` (powers of 1000)."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size:.0f} bytes"
