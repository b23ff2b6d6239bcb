"""What methods, filters and operators cost that take longer, or make more, than their input is long.

Costs are in the unit of `Budget.spend`: characters of text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2.sandbox import SecurityError

PIECE = 32
"""The cost of each piece of a text that is cut into pieces, in addition to its characters."""


def size(value: object) -> int:
    """The bits of a number, the characters or entries of a string, list or tuple, and 1 for other values."""
    if isinstance(value, int):
        return value.bit_length()
    return len(value) if isinstance(value, str | list | tuple) else 1


def repeated(left: Any, right: Any) -> int:
    """The size of a string or list times a number. Raises SecurityError for other operands."""
    count, sequence = (left, right) if isinstance(left, int) else (right, left)
    if not isinstance(count, int) or not isinstance(sequence, str | list | tuple):
        raise SecurityError("multiplying what is no number")
    return len(sequence) * max(count, 0)


def replaced(text: str, old: str, new: str, *_count: int) -> int:
    """Of `text.replace(old, new)`."""
    return len(text) + text.count(str(old)) * (len(str(new)) + PIECE)


def joined(separator: str, items: list[Any]) -> int:
    """Of `separator.join(items)`."""
    return sum(len(str(item)) for item in items) + len(separator) * len(items)


def _split(text: str, sep: str | None = None, maxsplit: int = -1) -> int:
    return PIECE * len(str.split(text, sep, maxsplit)) + _searched(text, sep)


def _split_into_lines(text: str, keepends: bool = False) -> int:
    return PIECE * len(str.splitlines(text, keepends))


def _searched(text: Any, characters: Any = None, *_: Any) -> int:
    """Where Python strips a text, or searches from its end, it may compare each character with each of `characters`."""
    return len(text) * len(characters or "") >> 6 if isinstance(text, str) else 0


def _padded(_text: Any, width: int = 80, *_: Any) -> int:
    return max(width, 0)


def _recased(text: Any) -> int:
    return 0 if not isinstance(text, str) or text.isascii() else PIECE * len(text) >> 2


def _read_in_words(text: Any) -> int:
    return PIECE * len(text) >> 1 if isinstance(text, str) else 0


COSTS: dict[str, Callable[..., int]] = {
    "replace": replaced,
    "join": joined,
    "splitlines": _split_into_lines,
    "title": _read_in_words,
    "wordcount": _read_in_words,
    **dict.fromkeys(("upper", "lower", "swapcase", "casefold"), _recased),
    **dict.fromkeys(("split", "rsplit"), _split),
    **dict.fromkeys(("strip", "lstrip", "rstrip", "trim", "rfind", "rindex", "rpartition"), _searched),
    **dict.fromkeys(("ljust", "rjust", "center", "zfill"), _padded),
}
"""By the name of a method or filter; the arguments are those of its call, the text first."""
