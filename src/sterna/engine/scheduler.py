"""Continuous batching: which sequences run, and which of their tokens enter the next forward pass."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

from sterna._native import BLOCK_SIZE
from sterna.engine.blocks import BlockAllocator, extend_block_keys
from sterna.engine.sequence import Sequence

TOKENS_PER_STEP = 128
"""Most tokens of one forward pass: long prompts enter in chunks of it, so that others are not held up."""

ROWS_WITH_DRAFTS = 8
"""Drafts fill a pass up to this many tokens of generating sequences: from there on its time grows as fast as its
tokens, and drafting gains nothing (docs/engine.md)."""


@dataclass(frozen=True)
class Chunk:
    """Tokens `start .. end - 1` of a sequence enter the pass, and after its last one a draft of those to come."""

    sequence: Sequence
    start: int
    end: int
    draft: SequenceOf[int] = ()

    @property
    def token_ids(self) -> list[int]:
        return [*self.sequence.token_ids[self.start : self.end], *self.draft]

    @property
    def choices(self) -> int:
        """How many tokens are to be chosen: with the sequence's last token the next, and one after each drafted."""
        return 1 + len(self.draft) if self.end == len(self.sequence.token_ids) else 0


class Scheduler:
    """Sequences wait until the pool surely has room for all they may become; then they run without being pushed out."""

    def __init__(self, allocator: BlockAllocator, context_length: int) -> None:
        self._allocator = allocator
        self._context_length = context_length
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self._promised = 0

    @property
    def promised(self) -> int:
        """Blocks that running sequences may still ask for: others must leave that many available."""
        return self._promised

    def add(self, sequence: Sequence) -> None:
        self._waiting.append(sequence)

    def schedule(self) -> list[Chunk]:
        """Chunks of the next pass: one token of every sequence that is generating and what it drafts, then prompts as
        far as they fit."""
        self._admit()
        chunks, left = [], TOKENS_PER_STEP
        generating = sum(sequence.is_generating for sequence in self._running)
        for sequence in sorted(self._running, key=lambda s: not s.is_generating):
            end = min(len(sequence.token_ids), sequence.num_cached + left)
            if end > sequence.num_cached:
                draft = self._draft(sequence, ROWS_WITH_DRAFTS // generating - 1) if sequence.is_generating else ()
                self._provide_blocks(sequence, end + len(draft))
                chunks.append(Chunk(sequence, sequence.num_cached, end, draft))
                left -= end - sequence.num_cached + len(draft)
        return chunks

    def computed(self, chunk: Chunk, accepted: int) -> None:
        """Notes that the pool holds the keys and values of the chunk and of the first `accepted` tokens of its draft,
        which are the sequence's own by now, and publishes blocks that became full. The rest gets overwritten.
        """
        sequence = chunk.sequence
        sequence.num_cached = chunk.end + accepted
        extend_block_keys(sequence.block_keys, sequence.token_ids[: sequence.num_cached])
        for index in range(chunk.start // BLOCK_SIZE, sequence.num_cached // BLOCK_SIZE):
            self._allocator.publish(sequence.blocks[index], sequence.block_keys[index])

    def remove(self, sequence: Sequence) -> None:
        """Takes a finished or abandoned sequence out and releases its blocks."""
        if sequence in self._running:
            self._running.remove(sequence)
            self._promised -= self._blocks_of(sequence) - len(sequence.blocks)
            self._allocator.release(sequence.blocks)
            sequence.blocks = []
        elif sequence in self._waiting:
            self._waiting.remove(sequence)

    def _limit(self, sequence: Sequence) -> int:
        """Most tokens that the sequence can come to have."""
        if sequence.params.max_tokens is None:
            return self._context_length
        return min(self._context_length, sequence.prompt_tokens + sequence.params.max_tokens)

    def _blocks_of(self, sequence: Sequence) -> int:
        """Blocks that the sequence may come to need."""
        return -(-self._limit(sequence) // BLOCK_SIZE)

    def _draft(self, sequence: Sequence, most: int) -> list[int]:
        """Tokens that may come next, at most `most`, and one less than may still come: the last needs no pass."""
        if sequence.lookup is None:
            return []
        room = self._limit(sequence) - len(sequence.token_ids) - 1
        return sequence.lookup.propose(min(most, sequence.params.lookup, room))

    def _admit(self) -> None:
        while self._waiting:
            sequence = self._waiting[0]
            needed = self._blocks_of(sequence)
            if self._running and needed > self._allocator.available - self._promised:
                return
            self._waiting.popleft()
            # The last prompt token is always computed: its hidden row chooses the first new one.
            extend_block_keys(sequence.block_keys, sequence.token_ids[:-1])
            sequence.blocks = self._allocator.match_prefix(sequence.block_keys)
            sequence.num_cached = sequence.cached_at_start = len(sequence.blocks) * BLOCK_SIZE
            sequence.started = time.perf_counter()
            self._promised += needed - len(sequence.blocks)
            self._running.append(sequence)

    def _provide_blocks(self, sequence: Sequence, end: int) -> None:
        while len(sequence.blocks) * BLOCK_SIZE < end:
            sequence.blocks.append(self._allocator.allocate())
            self._promised -= 1
