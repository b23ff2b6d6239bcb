"""The blocks of one KV pool: which are in use, and which full ones can be shared by sequences with a common prefix."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np


def extend_block_keys(keys: list[bytes], token_ids: Sequence[int], block_size: int, salt: bytes = b"") -> None:
    """Appends the block keys that `keys` lacks, for the full blocks of `block_size` tokens.

    The contents of a block depend on all tokens up to its end, and on anything else that changes the numbers, such as
    an adapter (`salt`). So its key is a hash of all of these.
    """
    starts = range(len(keys) * block_size, len(token_ids) - block_size + 1, block_size)
    if not starts:
        return
    from hashlib import blake2b  # loads OpenSSL, which takes milliseconds: short prompts need not wait for it

    for start in starts:
        block = np.asarray(token_ids[start : start + block_size], dtype=np.int32).tobytes()
        parent = keys[-1] if keys else salt
        keys.append(blake2b(parent + block, digest_size=16).digest())


NO_BLOCK = -1
"""Entry of a block table whose positions no layer of the group sees any more."""


LEAST_COMMON = 4
"""A block is copied for a sequence that begins like it with so many tokens; for fewer, computing them is as quick."""


class BlockAllocator:
    """Hands out the blocks of one pool. Blocks are reference-counted; a released block that others may use, because it
    is full and has a key, or because it may be copied in part, stays cached for a while.

    Blocks once used are taken again before fresh ones, and at most `max_cached` idle ones are kept, so that the memory
    which the pool has touched stays close to what sequences need.
    """

    def __init__(self, num_blocks: int, max_cached: int) -> None:
        self._fresh = list(range(num_blocks - 1, -1, -1))
        self._free: list[int] = []
        self._references = [0] * num_blocks
        self._limit = num_blocks
        self._max_cached = max_cached
        self._by_key: dict[bytes, int] = {}
        self._key_of: dict[int, bytes] = {}
        self._parts: dict[bytes, dict[int, np.ndarray]] = {}
        """By the key of the block before: blocks whose first tokens others may copy, and their tokens."""
        self._parent_of: dict[int, bytes] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()
        """Cached blocks that no sequence uses, oldest first."""

    @property
    def available(self) -> int:
        """How many blocks `allocate` can still give."""
        return max(self._limit - self.touched, 0) + len(self._free) + len(self._idle)

    @property
    def used(self) -> int:
        """How many blocks sequences have."""
        return self.touched - len(self._free) - len(self._idle)

    @property
    def size(self) -> int:
        """How many blocks the pool has."""
        return len(self._references)

    @property
    def touched(self) -> int:
        """How many blocks were ever given out, and so take memory."""
        return len(self._references) - len(self._fresh)

    def limit(self, blocks: int) -> None:
        """Lets no more than so many blocks take memory; those that take it already keep it."""
        self._limit = min(blocks, self.size)

    def allocate(self) -> int:
        """An unused block; the caller has made sure that one is available."""
        if self._free:
            block = self._free.pop()
        elif self.touched < self._limit:
            block = self._fresh.pop()
        else:
            block = self._evict()
        self._references[block] = 1
        return block

    def cached(self, key: bytes) -> bool:
        """Whether there is a cached block of this key."""
        return key in self._by_key

    def is_known(self, block: int) -> bool:
        """Whether a block can be found by a key."""
        return block in self._key_of

    def is_idle(self, key: bytes) -> bool:
        """Whether no sequence uses the cached block of this key."""
        return self._by_key[key] in self._idle

    def share(self, key: bytes) -> int:
        """The cached block of this key, with one more reference for the caller."""
        block = self._by_key[key]
        self._idle.pop(block, None)
        self._references[block] += 1
        return block

    def publish(self, block: int, key: bytes) -> None:
        """Makes a full block findable. Where another block already has the key, nothing changes."""
        if key not in self._by_key and block not in self._key_of:
            self._by_key[key] = block
            self._key_of[block] = key

    def publish_part(self, block: int, parent: bytes, token_ids: Sequence[int]) -> None:
        """Makes the first tokens of a block findable, which come after the block of the key `parent`."""
        self._parts.setdefault(parent, {})[block] = np.asarray(token_ids, np.int32)
        self._parent_of[block] = parent

    def find_part(self, parent: bytes, token_ids: Sequence[int]) -> tuple[int, int]:
        """The block after `parent` that has the most first tokens in common with `token_ids`, and how many; -1 and 0
        where there is none with `LEAST_COMMON`."""
        best, most = NO_BLOCK, LEAST_COMMON - 1
        wanted = np.asarray(token_ids, np.int32)
        for block, tokens in self._parts.get(parent, {}).items():
            n = min(len(tokens), len(wanted))
            differing = np.flatnonzero(tokens[:n] != wanted[:n])
            common = int(differing[0]) if len(differing) else n
            if common > most:
                best, most = block, common
        return (best, most) if best != NO_BLOCK else (NO_BLOCK, 0)

    def release(self, blocks: Sequence[int]) -> None:
        """Drops one reference to each block. Later blocks of a prefix are evicted first: fewer sequences share them."""
        for block in reversed(blocks):
            self._references[block] -= 1
            if self._references[block] > 0:
                continue
            if block in self._key_of or block in self._parent_of:
                self._idle[block] = None
            else:
                self._free.append(block)
        while len(self._idle) > self._max_cached:
            self._free.append(self._evict())

    def _evict(self) -> int:
        block, _ = self._idle.popitem(last=False)
        if block in self._key_of:
            del self._by_key[self._key_of.pop(block)]
        if block in self._parent_of:
            parent = self._parent_of.pop(block)
            del self._parts[parent][block]
            if not self._parts[parent]:
                del self._parts[parent]
        return block
