"""The KV blocks of sequences, in every cache group of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sterna.engine.backend import CachePool
from sterna.engine.blocks import BlockAllocator, extend_block_keys

NO_BLOCK = -1
"""Entry of a block table whose positions no layer of the group sees any more."""


@dataclass(eq=False)
class SequenceBlocks:
    """The blocks of one sequence: a block table for each cache group, and the keys of its full blocks."""

    salt: bytes = b""
    """Anything but the tokens that changes the numbers (`extend_block_keys`)."""
    tables: list[list[int]] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)


@dataclass(eq=False)
class _Group:
    allocator: BlockAllocator
    window: int | None
    most: int
    """Blocks that one sequence needs at most."""

    def first_seen(self, position: int) -> int:
        """The first position that the token at `position` sees."""
        return 0 if self.window is None else max(0, position + 1 - self.window)


class KvCache:
    """Gives sequences their blocks and takes them back; known prefixes are shared.

    Idle blocks of known prefixes are kept for twice `context_length` positions; in groups with a window, for twice the
    sum of the window and `pass_tokens`, if that is less.
    """

    def __init__(self, pools: Sequence[CachePool], block_size: int, context_length: int, pass_tokens: int) -> None:
        self.block_size = block_size
        self.groups: list[_Group] = []
        for pool in pools:
            seen = context_length if pool.window is None else min(context_length, pool.window + pass_tokens)
            allocator = BlockAllocator(pool.blocks, max_cached=2 * self.blocks_for(seen))
            self.groups.append(_Group(allocator, pool.window, self.blocks_for(seen) + 1))

    def blocks_for(self, tokens: int) -> int:
        """Blocks that hold so many positions."""
        return -(-tokens // self.block_size)

    def match(self, blocks: SequenceBlocks, token_ids: Sequence[int]) -> int:
        """Takes the blocks of the longest known prefix of `token_ids`; returns how many tokens it has."""
        count = self._known(blocks, token_ids)
        blocks.tables = []
        for group in self.groups:
            first = group.first_seen(count * self.block_size) // self.block_size
            shared = [group.allocator.share(key) for key in blocks.keys[first:count]]
            blocks.tables.append([NO_BLOCK] * min(first, count) + shared)
        return count * self.block_size

    def can_begin(self, blocks: SequenceBlocks, token_ids: Sequence[int], length: int, spare: int) -> bool:
        """Whether every group could give a new sequence, which may share the blocks of `token_ids`, all blocks of its
        first `length` tokens, and have `spare` ones left."""
        count = self._known(blocks, token_ids)
        for group in self.groups:
            first = group.first_seen(count * self.block_size) // self.block_size
            # A known block that another sequence uses is shared for free; an idle one is among the available.
            shared = sum(not group.allocator.is_idle(key) for key in blocks.keys[first:count])
            needed = min(self.blocks_for(length + 1), group.most) - shared
            if needed > group.allocator.available - spare:
                return False
        return True

    def _known(self, blocks: SequenceBlocks, token_ids: Sequence[int]) -> int:
        """The blocks of the longest known prefix. In a group with a window, only those that the token after it sees
        need to be known."""
        extend_block_keys(blocks.keys, token_ids, self.block_size, blocks.salt)
        count = len(token_ids) // self.block_size
        for group in self.groups:
            if group.window is None:
                missing = (index for index, key in enumerate(blocks.keys[:count]) if not group.allocator.cached(key))
                count = next(missing, count)
        while count > 0 and not all(self._sees_known(group, blocks.keys, count) for group in self.groups):
            count -= 1
        return count

    def _sees_known(self, group: _Group, keys: Sequence[bytes], count: int) -> bool:
        first = group.first_seen(count * self.block_size) // self.block_size
        return all(group.allocator.cached(key) for key in keys[first:count])

    def provide(self, blocks: SequenceBlocks, end: int) -> bool:
        """Allocates blocks for the positions up to `end`. Returns False, without allocating any, where there are not
        enough."""
        needed = [self.blocks_for(end) - len(table) for table in blocks.tables]
        if any(count > group.allocator.available for count, group in zip(needed, self.groups, strict=True)):
            return False
        for count, table, group in zip(needed, blocks.tables, self.groups, strict=True):
            table.extend(group.allocator.allocate() for _ in range(count))
        return True

    def computed(self, blocks: SequenceBlocks, token_ids: Sequence[int], first: int, end: int) -> None:
        """Records that the blocks hold the keys and values of the tokens first .. end - 1: full blocks become known,
        and those that no later token sees are released."""
        extend_block_keys(blocks.keys, token_ids, self.block_size, blocks.salt)
        for group, table in zip(self.groups, blocks.tables, strict=True):
            for index in range(first // self.block_size, end // self.block_size):
                if table[index] != NO_BLOCK:
                    group.allocator.publish(table[index], blocks.keys[index])
            for index in range(group.first_seen(end) // self.block_size - 1, -1, -1):
                if table[index] == NO_BLOCK:
                    break
                group.allocator.release([table[index]])
                table[index] = NO_BLOCK

    def release(self, blocks: SequenceBlocks) -> None:
        """Releases all blocks of a sequence."""
        for group, table in zip(self.groups, blocks.tables, strict=False):
            group.allocator.release([block for block in table if block != NO_BLOCK])
        blocks.tables = []
