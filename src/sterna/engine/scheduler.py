"""Continuous batching: which sequences run, and which of their tokens enter the next forward pass."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from sterna._native import BLOCK_SIZE
from sterna.engine.blocks import BlockAllocator, extend_block_keys
from sterna.engine.sequence import Sequence

TOKENS_PER_STEP = 128
"""Most tokens of one forward pass: long prompts enter in chunks of it, so that others are not held up."""


@dataclass(frozen=True)
class Chunk:
    """Tokens `start .. end - 1` of a sequence enter the pass."""

    sequence: Sequence
    start: int
    end: int

    @property
    def is_last(self) -> bool:
        """Whether the chunk ends with the sequence's last token, so that the next one is to be chosen."""
        return self.end == len(self.sequence.token_ids)


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
        """Chunks of the next pass: one token of every sequence that is generating, then prompts as far as they fit."""
        self._admit()
        chunks, left = [], TOKENS_PER_STEP
        for sequence in sorted(self._running, key=lambda s: len(s.token_ids) - s.num_cached > 1):
            end = min(len(sequence.token_ids), sequence.num_cached + left)
            if end > sequence.num_cached:
                self._provide_blocks(sequence, end)
                chunks.append(Chunk(sequence, sequence.num_cached, end))
                left -= end - sequence.num_cached
        return chunks

    def computed(self, chunk: Chunk) -> None:
        """Notes that the chunk's keys and values are in the pool, and publishes blocks that became full."""
        sequence = chunk.sequence
        sequence.num_cached = chunk.end
        extend_block_keys(sequence.block_keys, sequence.token_ids[: chunk.end])
        for index in range(chunk.start // BLOCK_SIZE, chunk.end // BLOCK_SIZE):
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

    def _blocks_of(self, sequence: Sequence) -> int:
        """Blocks that the sequence may come to need."""
        limit = self._context_length
        if sequence.params.max_tokens is not None:
            limit = min(limit, sequence.prompt_tokens + sequence.params.max_tokens)
        return -(-limit // BLOCK_SIZE)

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
