"""The engine behind `LLM`: one scheduler for callers on several threads. Whoever holds the lock steps for all."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence as SequenceOf
from itertools import islice, zip_longest

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
        self.allocator = BlockAllocator(runner.pools[0].blocks, max_cached=2 * -(-context_length // BLOCK_SIZE))
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
                        self.runner.forward([Span(part, at, blocks, len(part))])
                        for at in range(0, len(token_ids), TOKENS_PER_STEP)
                        for part in [token_ids[at : at + TOKENS_PER_STEP]]
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
        counts = [chunk.choices for chunk in chunks]
        hidden = self.runner.forward(
            [
                Span(chunk.token_ids, chunk.start, chunk.sequence.blocks, count)
                for chunk, count in zip(chunks, counts, strict=True)
            ]
        )
        samplings = [
            _native_sampling(chunk.sequence, chunk.draft[:drafted])
            for chunk, count in zip(chunks, counts, strict=True)
            for drafted in range(count)
        ]
        chosen = iter(self.runner.select(hidden, samplings).tolist() if samplings else [])
        for chunk, count in zip(chunks, counts, strict=True):
            self._scheduler.computed(chunk, self._append(chunk, list(islice(chosen, count))))

    def _append(self, chunk: Chunk, chosen: SequenceOf[int]) -> int:
        """Adds chosen tokens to the chunk's sequence as long as the draft agrees; how much of the draft was right."""
        sequence, accepted = chunk.sequence, 0
        try:
            for token, drafted in zip_longest(chosen, chunk.draft):
                sequence.append(token, self._context_length)
                if sequence.finished or token != drafted:
                    break
                accepted += 1
        except Exception as error:  # the others in the batch must not suffer
            sequence.error = error
        sequence.draft_tokens += len(chunk.draft)
        sequence.accepted_tokens += accepted
        return accepted


def _native_sampling(sequence: Sequence, drafted: SequenceOf[int]) -> _native.Sampling:
    """How to choose the token after the sequence and what is drafted beyond it."""
    params = sequence.params
    sampling = _native.Sampling()
    sampling.temperature = params.temperature
    sampling.top_k = params.top_k
    sampling.top_p = params.top_p
    sampling.min_p = params.min_p
    sampling.repetition_penalty = params.repetition_penalty
    sampling.seed = sequence.seed
    sampling.step = len(sequence.token_ids) - sequence.prompt_tokens + len(drafted)
    sampling.seen = [*sequence.token_ids, *drafted] if params.repetition_penalty != 1.0 else []
    return sampling
