"""Which tokens of a text hold characters of given spans."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

Spans = Sequence[tuple[int, int]]
"""First character and end (exclusive), in order."""


def inside(spans: Spans, start: int, end: int) -> list[tuple[int, int]]:
    """The parts of `spans` that lie between two characters, counted from `start`."""
    return [(max(a, start) - start, min(b, end) - start) for a, b in spans if a < end and b > start]


def marked_tokens(text: str, spans: Spans, sizes: Sequence[int]) -> list[bool] | None:
    """For each token of `text`, by the sizes of their bytes, whether it holds a character of `spans`. None where the
    tokens are not the bytes of the text, as where the tokenizer normalises it; a space before the text may be."""
    if not spans:
        return [False] * len(sizes)
    before = sum(sizes) - len(text.encode())
    if before not in (0, 1):
        return None
    offsets = [(len(text[:a].encode()), len(text[:b].encode())) for a, b in spans]
    ends = [end - before for end in accumulate(sizes)]
    return [
        any(end - size < last and end > first for first, last in offsets) for end, size in zip(ends, sizes, strict=True)
    ]
