"""The engine behind `LLM`: one scheduler for callers on several threads. Whoever holds the lock steps for all."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence as SequenceOf

import numpy as np

from sterna import _native
from sterna._native import BLOCK_SIZE
from sterna.engine.blocks import BlockAllocator
from sterna.engine.runner import Runner, Span
from sterna.engine.scheduler import TOKENS_PER_STEP, Chunk, Scheduler
from sterna.engine.sequence import Sequence


class Engine:
    """Runs sequences to their end, in batches."""

    def __init__(self, runner: Runner, context_length: int) -> None:
        self.runner = runner
        self.allocator = BlockAllocator(runner.pool.blocks, max_cached=2 * -(-context_length // BLOCK_SIZE))
        self._scheduler = Scheduler(self.allocator, context_length)
        self._context_length = context_length
        self._lock = threading.Lock()
        self._abandoned: deque[Sequence] = deque()

    def submit(self, sequences: SequenceOf[Sequence]) -> None:
        """Lets sequences wait for their turn; `advance` then runs them."""
        with self._lock:
            for sequence in sequences:
                self._scheduler.add(sequence)

    def advance(self, sequence: Sequence) -> str:
        """Runs one step, unless another caller's step has finished the sequence meanwhile; the text not taken before.

        Raises what went wrong with the sequence.
        """
        with self._lock:
            if not sequence.finished:
                self._step()
            text = sequence.take_text()
        if sequence.error is not None:
            raise sequence.error
        return text

    def abandon(self, sequences: SequenceOf[Sequence]) -> None:
        """Takes sequences out, finished or not.

        Garbage collection may call this on the thread that is in the middle of a step, by closing a forgotten stream:
        then, as whenever the lock is taken, they leave at the next step.
        """
        self._abandoned.extend(sequences)
        if self._lock.acquire(blocking=False):
            try:
                self._drop_abandoned()
            finally:
                self._lock.release()

    def hidden(self, token_ids: SequenceOf[int]) -> np.ndarray:
        """Hidden rows float32 `[n, hidden_size]` of one causal pass; others wait meanwhile."""
        with self._lock:
            self._drop_abandoned()
            needed = -(-len(token_ids) // BLOCK_SIZE)
            while self.allocator.available - self._scheduler.promised < needed:
                self._step()
            blocks = [self.allocator.allocate() for _ in range(needed)]
            try:
                return np.concatenate(
                    [
                        self.runner.forward([Span(token_ids[at : at + TOKENS_PER_STEP], at, blocks, "all")])
                        for at in range(0, len(token_ids), TOKENS_PER_STEP)
                    ]
                )
            finally:
                self.allocator.release(blocks)

    def _drop_abandoned(self) -> None:
        while self._abandoned:
            self._scheduler.remove(self._abandoned.popleft())

    def _step(self) -> None:
        """One forward pass over what the scheduler chose; the lock is held."""
        self._drop_abandoned()
        chunks = self._scheduler.schedule()
        try:
            self._forward(chunks)
        except Exception as error:
            for chunk in chunks:
                chunk.sequence.error = error
        for chunk in chunks:
            if chunk.sequence.finished:
                self._scheduler.remove(chunk.sequence)

    def _forward(self, chunks: SequenceOf[Chunk]) -> None:
        choosing = [chunk.sequence for chunk in chunks if chunk.is_last]
        hidden = self.runner.forward(
            [
                Span(
                    chunk.sequence.token_ids[chunk.start : chunk.end],
                    chunk.start,
                    chunk.sequence.blocks,
                    "last" if chunk.is_last else "none",
                )
                for chunk in chunks
            ]
        )
        for chunk in chunks:
            self._scheduler.computed(chunk)
        if not choosing:
            return
        chosen = self.runner.select(hidden, [_native_sampling(sequence) for sequence in choosing])
        for sequence, token in zip(choosing, chosen, strict=True):
            try:
                sequence.append(int(token), self._context_length)
            except Exception as error:  # the others in the batch must not suffer
                sequence.error = error


def _native_sampling(sequence: Sequence) -> _native.Sampling:
    params = sequence.params
    return _native.Sampling(
        temperature=params.temperature,
        top_k=params.top_k,
        top_p=params.top_p,
        min_p=params.min_p,
        repetition_penalty=params.repetition_penalty,
        seed=sequence.seed,
        step=len(sequence.token_ids) - sequence.prompt_tokens,
        penalized=sequence.token_ids if params.repetition_penalty != 1.0 else [],
    )
