"""Sizes and times as people write them: `8GB`, `5m`."""

from __future__ import annotations

import math
import re
from numbers import Real

from sterna.engine.checks import Rule

_BYTES = {"": 1, "B": 1, "K": 1e3, "KB": 1e3, "KIB": 2**10, "M": 1e6, "MB": 1e6, "MIB": 2**20}
_BYTES |= {"G": 1e9, "GB": 1e9, "GIB": 2**30, "T": 1e12, "TB": 1e12, "TIB": 2**40}
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = r"\d+(?:\.\d*)?|\.\d+"


class Size(Rule):
    """A number of bytes, with a unit if wanted. Units are powers of 1000, and with an i (`GiB`) powers of 1024."""

    words = "a size such as 8GB or 512MiB"
    metavar = "SIZE"

    def _parsed(self, text: str) -> object:
        found = re.fullmatch(rf"({_NUMBER})\s*([A-Za-z]*)", text.strip())
        if found is None or found[2].upper() not in _BYTES:
            return text
        return float(found[1]) * _BYTES[found[2].upper()]

    def _taken(self, value: object) -> int:
        if not isinstance(value, Real) or isinstance(value, bool) or not 0 < float(value) < 2**63:
            raise ValueError
        return int(float(value))


class Duration(Rule):
    """Seconds as a number, or as text with units (Go's `time.ParseDuration`, which Ollama reads: `90`, `5m`, `1h30m`).
    Any negative one is infinite."""

    words = "a time such as 90, 5m or 1h30m; a negative one is for ever"
    metavar = "TIME"

    def _parsed(self, text: str) -> object:
        text = text.strip()
        sign, bare = -1 if text.startswith("-") else 1, text.removeprefix("-").removeprefix("+")
        if re.fullmatch(_NUMBER, bare):
            return sign * float(bare)
        parts = re.findall(rf"({_NUMBER})(ns|us|µs|μs|ms|s|m|h|d)", bare)
        if not parts or "".join(number + unit for number, unit in parts) != bare:
            return text
        return sign * sum(float(number) * _SECONDS[unit] for number, unit in parts)

    def _taken(self, value: object) -> float:
        if isinstance(value, str):
            value = self._parsed(value)
        if not isinstance(value, Real) or isinstance(value, bool) or math.isnan(float(value)):
            raise ValueError
        return math.inf if float(value) < 0 else float(value)
