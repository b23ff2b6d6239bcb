"""The shape of the gated delta nets of a hybrid model (arXiv 2412.06464)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DeltaNet:
    """The layers that have a gated delta net in place of attention, and its heads (`operations.DeltaRule`)."""

    layers: tuple[int, ...]
    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    conv_width: int
    """Positions that the convolution sees."""
    is_tiled: bool
    """Whether value head h reads key head `h mod key_heads`, as in GGUF files, and not
    `h div (value_heads / key_heads)`."""

    @property
    def keys(self) -> int:
        """The width of q and of k."""
        return self.key_heads * self.key_dim

    @property
    def values(self) -> int:
        """The width of v."""
        return self.value_heads * self.value_dim
