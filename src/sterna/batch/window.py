"""The order in which lines run: those of a window that begin alike come one after the other, so that the engine
computes what they have in common once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

WINDOW = 4096
"""Lines that are sorted together, and about the most answers that wait for an earlier one."""


def by_prefix(items: Iterable[T], prefix: Callable[[T], str], window: int = WINDOW) -> Iterator[T]:
    """The items in another order: each window of them is sorted."""
    rest = iter(items)
    while part := list(islice(rest, window)):
        yield from sorted(part, key=prefix)
