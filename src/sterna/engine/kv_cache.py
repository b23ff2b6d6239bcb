"""What sequences keep of their tokens: KV blocks in every cache group of a model, state slots in every state group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sterna.engine.backend import CachePool, StatePool
from sterna.engine.blocks import NO_BLOCK, BlockAllocator, extend_block_keys
from sterna.engine.states import StateGroup

__all__ = ["NO_BLOCK", "KvCache", "SequenceBlocks"]


@dataclass(eq=False)
class SequenceBlocks:
    """The blocks of one sequence: a table for each cache group and state group, and the keys of its full blocks."""

    salt: bytes = b""
    """Anything but the tokens that changes the numbers (`extend_block_keys`)."""
    tables: list[list[int]] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    branches: frozenset[int] = frozenset()
    """The blocks at whose beginnings other sequences may branch off: states are kept there (`StateGroup`)."""


@dataclass(eq=False)
class _Group:
    """The KV blocks of one cache group; its methods are those of `StateGroup`."""

    allocator: BlockAllocator
    window: int | None
    most: int
    """Blocks that one sequence needs at most; a small pool may have fewer."""
    block_size: int

    @property
    def least(self) -> int:
        """Blocks that are enough for any one sequence that the pool has room for."""
        return min(self.most, self.allocator.size)

    def first_seen(self, position: int) -> int:
        """The first position that the token at `position` sees."""
        return 0 if self.window is None else max(0, position + 1 - self.window)

    def _shared(self, count: int) -> range:
        """The blocks that the token after the first `count` blocks sees."""
        return range(self.first_seen(count * self.block_size) // self.block_size, count)

    def knows(self, keys: Sequence[bytes], count: int) -> bool:
        return all(self.allocator.cached(keys[index]) for index in self._shared(count))

    def match(self, keys: Sequence[bytes], count: int) -> list[int]:
        shared = self._shared(count)
        return [NO_BLOCK] * shared.start + [self.allocator.share(keys[index]) for index in shared]

    def can_begin(self, keys: Sequence[bytes], count: int, blocks: int, spare: int) -> bool:
        # A known block that another sequence uses is shared for free; an idle one is among the available.
        shared = sum(not self.allocator.is_idle(keys[index]) for index in self._shared(count))
        return min(blocks, self.most) - shared <= self.allocator.available - spare

    def lacks(self, table: Sequence[int], blocks: int, branches: frozenset[int]) -> int:
        return max(blocks - len(table), 0)

    def extend(self, table: list[int], blocks: int, branches: frozenset[int]) -> None:
        table.extend(self.allocator.allocate() for _ in range(blocks - len(table)))

    def computed(self, table: list[int], keys: Sequence[bytes], first: int, end: int) -> None:
        for index in range(first // self.block_size, end // self.block_size):
            if table[index] != NO_BLOCK:
                self.allocator.publish(table[index], keys[index])
        for index in range(self.first_seen(end) // self.block_size - 1, -1, -1):
            if table[index] == NO_BLOCK:
                break
            self.allocator.release([table[index]])
            table[index] = NO_BLOCK

    def release(self, table: Sequence[int], keys: Sequence[bytes]) -> None:
        self.allocator.release([block for block in table if block != NO_BLOCK])


class KvCache:
    """Gives sequences their blocks and slots and takes them back; known prefixes are shared.

    Idle blocks of known prefixes are kept for twice `context_length` positions; in groups with a window, for twice the
    sum of the window and `pass_tokens`, if that is less.
    """

    def __init__(
        self, pools: Sequence[CachePool | StatePool], block_size: int, context_length: int, pass_tokens: int
    ) -> None:
        self.block_size = block_size
        self.groups: list[_Group | StateGroup] = []
        for pool in pools:
            if isinstance(pool, StatePool):
                self.groups.append(StateGroup(BlockAllocator(pool.slots, max_cached=pool.most_kept)))
                continue
            seen = context_length if pool.window is None else min(context_length, pool.window + pass_tokens)
            allocator = BlockAllocator(pool.blocks, max_cached=2 * self.blocks_for(seen))
            self.groups.append(_Group(allocator, pool.window, self.blocks_for(seen) + 1, block_size))

        self._copies: list[tuple[int, int, int]] = []
        self._has_states = any(isinstance(group, StateGroup) for group in self.groups)

    @property
    def use(self) -> float:
        """How many blocks sequences have, of those that they may have: a share from 0 to 1."""
        used = sum(group.allocator.used for group in self.groups)
        blocks = used + sum(group.allocator.available for group in self.groups)
        return used / blocks if blocks else 0.0

    def taken(self, block_bytes: Sequence[int]) -> int:
        """Bytes that the blocks have taken; `block_bytes`: those of one block or slot of each group."""
        return sum(group.allocator.touched * size for group, size in zip(self.groups, block_bytes, strict=True))

    def least(self, block_bytes: Sequence[int]) -> int:
        """Bytes that one sequence of the whole context needs at most."""
        return sum(group.least * size for group, size in zip(self.groups, block_bytes, strict=True))

    def limit(self, limit: int, block_bytes: Sequence[int]) -> None:
        """Lets the blocks take no more than so many bytes, but what they have taken, and what one sequence needs."""
        beyond = [group.allocator.size - group.least for group in self.groups]
        rest = sum(blocks * size for blocks, size in zip(beyond, block_bytes, strict=True))
        share = max(limit - self.least(block_bytes), 0) / max(rest, 1)
        for group, blocks in zip(self.groups, beyond, strict=True):
            group.allocator.limit(group.least + int(blocks * share))

    def blocks_for(self, tokens: int) -> int:
        """Blocks that hold so many positions."""
        return -(-tokens // self.block_size)

    def most_drafted(self, position: int) -> int:
        """How many tokens may be drafted from `position` on: a state advances at the end of a block over all its rows,
        and must not over wrong ones."""
        return self.block_size - position % self.block_size if self._has_states else self.block_size

    def match(self, blocks: SequenceBlocks, token_ids: Sequence[int]) -> int:
        """Takes the blocks of the longest known prefix of `token_ids`, and copies of what is known of the block after
        them (`copies`); returns how many tokens that is."""
        count, branch = self._known(blocks, token_ids)
        # Other sequences begin like this one up to its branch, and like its prompt.
        blocks.branches = frozenset(end for end in (branch, len(token_ids) // self.block_size) if end > count)
        blocks.tables = [group.match(blocks.keys, count) for group in self.groups]
        return count * self.block_size + self._copy_part(blocks, token_ids, count)

    def _copy_part(self, blocks: SequenceBlocks, token_ids: Sequence[int], count: int) -> int:
        """Gives a sequence that has `count` known blocks copies of blocks that begin like its next one. Returns how
        many tokens of it they hold."""
        if self._has_states:  # which are those of a block's beginning
            return 0
        parent = blocks.keys[count - 1] if count else blocks.salt
        rest = token_ids[count * self.block_size : (count + 1) * self.block_size]
        found = [group.allocator.find_part(parent, rest) for group in self.groups]
        common = min((common for _, common in found), default=0)
        if not common or not all(group.allocator.available for group in self.groups):
            return 0
        for number, (group, (source, _)) in enumerate(zip(self.groups, found, strict=True)):
            target = group.allocator.allocate()
            blocks.tables[number].append(target)
            self._copies.append((number, source, target))
        return common

    def copies(self) -> list[tuple[int, int, int]]:
        """Group, source and target of the blocks that must be copied, in this order, before the next pass; once."""
        copies, self._copies = self._copies, []
        return copies

    def share_parts(self, blocks: SequenceBlocks, token_ids: Sequence[int]) -> None:
        """Lets later sequences copy any of the blocks of a sequence in part; `token_ids` are all that it has."""
        if self._has_states:
            return
        extend_block_keys(blocks.keys, token_ids, self.block_size, blocks.salt)
        for group, table in zip(self.groups, blocks.tables, strict=True):
            for index, block in enumerate(table[: self.blocks_for(len(token_ids))]):
                if block != NO_BLOCK:
                    parent = blocks.keys[index - 1] if index else blocks.salt
                    start = index * self.block_size
                    group.allocator.publish_part(block, parent, token_ids[start : start + self.block_size])

    def can_begin(self, blocks: SequenceBlocks, token_ids: Sequence[int], length: int, spare: int) -> bool:
        """Whether every group could give a new sequence, which may share the blocks of `token_ids`, all blocks of its
        first `length` tokens, and have `spare` ones left."""
        count, _ = self._known(blocks, token_ids)
        needed = self.blocks_for(length + 1)
        return all(group.can_begin(blocks.keys, count, needed, spare) for group in self.groups)

    def _known(self, blocks: SequenceBlocks, token_ids: Sequence[int]) -> tuple[int, int]:
        """The blocks of the longest known prefix, and those of the longest whose keys and values alone are known. In a
        group with a window, only those that the token after it sees need to be known."""
        extend_block_keys(blocks.keys, token_ids, self.block_size, blocks.salt)
        count = len(token_ids) // self.block_size
        for group in self.groups:
            if isinstance(group, _Group) and group.window is None:
                missing = (index for index, key in enumerate(blocks.keys[:count]) if not group.allocator.cached(key))
                count = next(missing, count)
        branch = count
        while count > 0 and not all(group.knows(blocks.keys, count) for group in self.groups):
            count -= 1
        return count, branch

    def provide(self, blocks: SequenceBlocks, end: int) -> bool:
        """Allocates blocks for the positions up to `end`. Returns False, without allocating any, where there are not
        enough."""
        needed, pairs = self.blocks_for(end), list(zip(self.groups, blocks.tables, strict=True))
        if any(group.lacks(table, needed, blocks.branches) > group.allocator.available for group, table in pairs):
            return False
        for group, table in pairs:
            group.extend(table, needed, blocks.branches)
        return True

    def computed(self, blocks: SequenceBlocks, token_ids: Sequence[int], first: int, end: int) -> None:
        """Records that the blocks hold the keys and values of the tokens first .. end - 1: full blocks become known,
        and those that no later token sees are released."""
        extend_block_keys(blocks.keys, token_ids, self.block_size, blocks.salt)
        for group, table in zip(self.groups, blocks.tables, strict=True):
            group.computed(table, blocks.keys, first, end)

    def release(self, blocks: SequenceBlocks) -> None:
        """Releases all blocks of a sequence."""
        for group, table in zip(self.groups, blocks.tables, strict=False):
            group.release(table, blocks.keys)
        blocks.tables = []
