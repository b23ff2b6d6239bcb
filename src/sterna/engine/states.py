"""The state slots of sequences in one state group.

A state cannot be cut back to a shorter prefix, so the states of some prefixes are kept: a slot holds the state at the
beginning of one block of positions, and the rows of that block. A sequence writes into its slot from block to block. At
a block where others may branch off it moves on to another slot, and the one that it leaves becomes known under the key
of the prefix. So does the slot of a sequence that ends or is preempted.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sterna.engine.blocks import NO_BLOCK, BlockAllocator


class StateGroup:
    """Gives slots to sequences and takes them back. `table[i]` is the slot of block i, `NO_BLOCK` for blocks before the
    one that a sequence has reached; a known slot, which is never written, stands for the block before its own."""

    def __init__(self, allocator: BlockAllocator) -> None:
        self.allocator = allocator

    @property
    def least(self) -> int:
        """Slots that one sequence needs at most: two of its own, and one to begin from, beside one that is kept."""
        return 4

    def knows(self, keys: Sequence[bytes], count: int) -> bool:
        """Whether what a token sees after the first `count` blocks, at least one, is known."""
        return self.allocator.cached(keys[count - 1])

    def match(self, keys: Sequence[bytes], count: int) -> list[int]:
        """The table of a sequence that begins after `count` known blocks."""
        return [NO_BLOCK] * (count - 1) + [self.allocator.share(keys[count - 1])] if count else []

    def can_begin(self, keys: Sequence[bytes], count: int, blocks: int, spare: int) -> bool:
        """Whether there is room for a sequence that begins after `count` known blocks: a slot, another one for a state
        that is to be kept, and the known state, if no other sequence uses it."""
        taken = count > 0 and self.allocator.is_idle(keys[count - 1])
        return 2 + taken <= self.allocator.available

    def lacks(self, table: Sequence[int], blocks: int, branches: Collection[int]) -> int:
        """How many slots `extend` will take."""
        return sum(self._is_new(table, index, branches) for index in range(len(table), blocks))

    def extend(self, table: list[int], blocks: int, branches: Collection[int]) -> None:
        """Lengthens a table to `blocks` blocks."""
        for index in range(len(table), blocks):
            is_new = self._is_new(table, index, branches)
            table.append(self.allocator.allocate() if is_new else table[-1])

    def _is_new(self, table: Sequence[int], index: int, branches: Collection[int]) -> bool:
        """Whether a block takes a slot of its own: the first one, and those after a known slot or one to be kept."""
        after_known = index == len(table) > 0 and self.allocator.is_known(table[-1])
        return index == 0 or after_known or (index - 1 in branches)

    def computed(self, table: list[int], keys: Sequence[bytes], first: int, end: int) -> None:
        """Records that all blocks of the table are begun: slots that the sequence has left become known."""
        for index in range(len(table) - 1):
            if table[index] not in (NO_BLOCK, table[index + 1]):
                self._leave(table[index], index, keys)
            table[index] = NO_BLOCK

    def release(self, table: Sequence[int], keys: Sequence[bytes]) -> None:
        """Takes back the slots of a sequence. Its first one holds a state, later ones may not have been written."""
        slots = [slot for slot in dict.fromkeys(table) if slot != NO_BLOCK]
        if slots:
            self._leave(slots[0], table.index(slots[0]), keys)
            self.allocator.release(slots[1:])

    def _leave(self, slot: int, block: int, keys: Sequence[bytes]) -> None:
        """Releases a slot that holds the state at the beginning of a block."""
        if block > 0:
            self.allocator.publish(slot, keys[block - 1])
        self.allocator.release([slot])
