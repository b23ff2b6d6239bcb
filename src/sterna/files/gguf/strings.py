"""String arrays of a GGUF header, decoded on demand: a vocabulary has hundreds of thousands of strings, and few are
read twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from sterna.tensor.pages import release

try:
    from sterna._native import gguf_string_index, gguf_strings
except ImportError:  # without the compiled module a model can still be opened and described
    from sterna.files.gguf.strings_python import gguf_string_index, gguf_strings

STRIDE = 16
"""The place of every `STRIDE`-th string is known, so a look-up decodes at most `STRIDE` strings."""


class Strings(Sequence[str]):
    """Strings that lie one after the other in a mapped file, decoded when they are asked for.

    Bytes that are no UTF-8 read as U+FFFD. Equal to a sequence of the same strings.
    """

    def __init__(self, header: np.ndarray, position: int, count: int) -> None:
        """`count` strings from `position` on of `header`, a uint8 vector that begins with the file.

        Raises ValueError, with the reason, where one does not fit the header.
        """
        self._header, self._count = header, count
        self._starts, self.end = gguf_string_index(header, position, count, STRIDE)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        """All strings, decoded at once; their pages of the file are given back to the system."""
        if not self._count:
            return iter(())
        start = int(self._starts[0])
        strings = gguf_strings(self._header, start, self._count)
        release(self._header[start : self.end])
        return iter(strings)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return list(self)[index]
        group, place = divmod(range(self._count)[index], STRIDE)
        return gguf_strings(self._header, int(self._starts[group]), place + 1)[-1]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and not isinstance(other, str) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Strings({list(self)!r})"
