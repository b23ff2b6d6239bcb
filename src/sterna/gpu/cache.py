"""Keys and values of all sequences in blocks, a pool for each cache group of a plan."""

from __future__ import annotations

import torch

from sterna.gpu.frame import BLOCK
from sterna.model.plan import CacheGroup

TYPES = {"f16": torch.float16, "int8": torch.int8, "f32": torch.float32}


class Pool:
    """`blocks` blocks of every layer of a group. `int8` keeps a float32 scale for each head of each position."""

    def __init__(self, group: CacheGroup, blocks: int, kv: str, device: torch.device) -> None:
        self.blocks, self.is_int8 = blocks, kv == "int8"
        heads = group.layers, blocks, BLOCK, group.kv_heads
        self.keys, self.values = (
            torch.zeros((*heads, group.head_dim), dtype=TYPES[kv], device=device) for _ in range(2)
        )
        scales = heads if self.is_int8 else (1,)
        self.key_scales, self.value_scales = (torch.zeros(scales, device=device) for _ in range(2))

    def copy(self, source: int, target: int) -> None:
        """Copies all layers of a block."""
        for kept in (self.keys, self.values, self.key_scales, self.value_scales):
            if kept.ndim > 1:
                kept[:, target].copy_(kept[:, source])


def block_bytes(group: CacheGroup, kv: str) -> int:
    """Bytes of one block of a group."""
    head = group.head_dim * TYPES[kv].itemsize + (4 if kv == "int8" else 0)
    return 2 * group.layers * BLOCK * group.kv_heads * head
