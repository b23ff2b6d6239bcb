"""Values of a `config.json`, with their types checked: FormatError for a value of the wrong type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sterna.errors import FormatError

MAX_INTEGER = 1 << 53
"""Readers of JSON need not agree on integers beyond it (RFC 8259, section 6)."""


def mapping(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object under `key`, empty where there is none."""
    value = raw.get(key) or {}
    if not isinstance(value, dict):
        raise FormatError(f"its {key} is no JSON object.")
    return value


def number(value: Any, key: str) -> float:
    """`value`, found under `key`, as a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FormatError(f"its {key} is {value!r}, and must be a number.")
    try:
        return float(value)
    except OverflowError as error:
        raise FormatError(f"its {key} is larger than any float.") from error


def integer(raw: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """The whole number under `key`; `default` where there is none or null."""
    value = default if raw.get(key) is None else raw[key]
    if isinstance(value, bool) or not isinstance(value, int):
        raise FormatError(f"its {key} is {value!r}, and must be a whole number.")
    if abs(value) > MAX_INTEGER:
        raise FormatError(f"its {key} is beyond 2^53, more than JSON's readers agree on.")
    return value
