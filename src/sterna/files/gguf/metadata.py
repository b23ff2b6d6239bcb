"""Metadata keys with one prefix, mostly an architecture's name, with their types checked."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from sterna.errors import FormatError, UnsupportedError


class Keys:
    """Metadata keys that begin with `architecture` and a dot: an architecture's name, or another prefix of keys."""

    def __init__(self, metadata: Mapping[str, Any], architecture: str) -> None:
        self.metadata = metadata
        self.architecture = architecture

    def get(self, key: str, default: Any = None) -> Any:
        value = self.metadata.get(f"{self.architecture}.{key}", default)
        if not isinstance(value, str | bool | int | float | None):
            raise UnsupportedError(
                f"its {self.architecture}.{key} is a list, and Sterna needs one value for all layers."
            )
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self.get(key, default)
        if value is None:
            raise FormatError(f"it has no metadata key {self.architecture}.{key}.")
        if isinstance(value, bool | str):
            raise FormatError(f"its {self.architecture}.{key} is no number.")
        return float(value)

    def integer(self, key: str, default: int | None = None) -> int:
        value = self.number(key, default)
        if not isfinite(value) or value != int(value) or value < 0:
            raise FormatError(f"its {self.architecture}.{key} is {value}, and must be a whole number.")
        return int(value)
