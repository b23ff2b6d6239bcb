"""Checks of the values of options."""

from __future__ import annotations

import math
from collections.abc import Collection
from numbers import Integral, Real

from sterna.errors import ArgumentError


def whole(value: object, least: int, end: int) -> bool:
    """Whether `value` is a whole number (no boolean) from `least` to before `end`."""
    return isinstance(value, Integral) and not isinstance(value, bool) and least <= int(value) < end


def real(value: object) -> bool:
    """Whether `value` is a finite number."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False


def one_of(name: str, value: object, known: Collection[str]) -> None:
    """Raises ArgumentError where `value` is none of the `known` ones."""
    if value not in known:
        raise ArgumentError(f"{name} must be one of {', '.join(known)}, not {value!r}.")
