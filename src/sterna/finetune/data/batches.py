"""Batches of examples: rows of tokens, packed or not, in an order that is a function of seed and step alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from sterna.finetune.data.examples import Sequence, Source

IGNORED = -100
"""The label of a token that is not learned."""
Row = list[Sequence]
"""Examples that lie one after the other."""


@dataclass(frozen=True)
class Part:
    """Examples one after the other: `tokens` and `labels` int64 [1, n], and the length of each. The label of a token is
    the one that follows it, or `IGNORED`."""

    tokens: Tensor
    labels: Tensor
    lengths: tuple[int, ...]
    learned: int
    """How many tokens of the whole batch, on all processes, are learned."""
    tokens_in_batch: int
    """How many tokens the whole batch has."""

    def to(self, device: torch.device) -> Part:
        """The same on a device."""
        return replace(self, tokens=self.tokens.to(device), labels=self.labels.to(device))


def part_of(sequences: Row, learned: int, tokens_in_batch: int = 1) -> Part:
    """Examples as one part of a batch; `learned` and `tokens_in_batch` are those of the whole batch."""
    tokens = np.concatenate([sequence.ids for sequence in sequences]).astype(np.int64)
    own = np.concatenate([sequence.learned for sequence in sequences])
    # The first token of an example is not learned, so no label crosses from one example to the next.
    labels = np.append(np.where(own, tokens, IGNORED)[1:], IGNORED)
    lengths = tuple(len(sequence) for sequence in sequences)
    return Part(torch.from_numpy(tokens)[None], torch.from_numpy(labels)[None], lengths, learned, tokens_in_batch)


def learned_tokens(rows: list[Row]) -> int:
    """How many tokens of rows are learned."""
    return sum(int(sequence.learned.sum()) for row in rows for sequence in row)


class Batches:
    """The rows of every epoch, one after the other."""

    def __init__(self, sources: list[Source], context: int, packing: bool, seed: int) -> None:
        self._sources, self._context, self._packing, self._seed = sources, context, packing, seed
        self.epoch = lru_cache(maxsize=2)(self._epoch)
        self._sums = lru_cache(maxsize=2)(self._token_sums)
        self._first, self._tokens = [0], [0]

    def batch(self, step: int, size: int) -> list[Row]:
        """The `size` rows of a step, counted from 0."""
        return [self._row(index) for index in range(step * size, (step + 1) * size)]

    def tokens(self, rows: int) -> int:
        """How many tokens the first `rows` rows of the run have."""
        if rows == 0:
            return 0
        epoch = self._epoch_of(rows - 1)
        return self._tokens[epoch] + int(self._sums(epoch)[rows - 1 - self._first[epoch]])

    def _row(self, index: int) -> Row:
        epoch = self._epoch_of(index)
        return self.epoch(epoch)[index - self._first[epoch]]

    def _epoch_of(self, index: int) -> int:
        """The number of the epoch that a row belongs to."""
        while self._first[-1] <= index:
            sums = self._sums(len(self._first) - 1)
            self._first.append(self._first[-1] + len(sums))
            self._tokens.append(self._tokens[-1] + int(sums[-1]))
        return int(np.searchsorted(self._first, index, side="right")) - 1

    def _token_sums(self, number: int) -> np.ndarray:
        """int64 [rows of an epoch]: how many tokens it has up to each row, and with it."""
        return np.cumsum([sum(map(len, row)) for row in self.epoch(number)], dtype=np.int64)

    def _epoch(self, number: int) -> list[Row]:
        """The rows of an epoch: each example as often as its source's weight says, in random order."""
        random = np.random.default_rng((self._seed, number))
        drawn: list[Sequence] = []
        for source in self._sources:
            times, fraction = divmod(source.section.weight, 1.0)
            count = round(fraction * len(source.sequences))
            drawn += source.sequences * int(times)
            drawn += [source.sequences[i] for i in random.permutation(len(source.sequences))[:count]]
        order = [drawn[i] for i in random.permutation(len(drawn))]
        return list(packed(order, self._context)) if self._packing else [[sequence] for sequence in order]


OPEN_ROWS = 64
"""How many rows are kept open for examples that fit; the oldest one is closed first."""


def packed(sequences: list[Sequence], context: int) -> Iterator[Row]:
    """Rows of at most `context` tokens. Of the last `OPEN_ROWS` rows, an example goes to the first one with room for it
    (first fit), else to a new row."""
    rows: list[tuple[int, Row]] = []
    for sequence in sequences:
        size = len(sequence)
        place = next((i for i, (room, _) in enumerate(rows) if room >= size), None)
        if place is None:
            rows.append((context - size, [sequence]))
            if len(rows) > OPEN_ROWS:
                yield rows.pop(0)[1]
        else:
            room, row = rows[place]
            row.append(sequence)
            rows[place] = room - size, row
    yield from (row for _, row in rows)
