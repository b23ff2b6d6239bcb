"""Durations as Go writes them (https://pkg.go.dev/time#ParseDuration)."""

from __future__ import annotations

import math
import re

from sterna.errors import shown
from sterna.server.errors import ApiError

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


def keep_alive_seconds(given: float | str | None) -> float | None:
    """Seconds of a `keep_alive`: a number, or a text such as `5m` or `1h30m`. What is negative lasts forever; None
    stays None. Raises `ApiError` for any other text."""
    if given is None:
        return None
    seconds = float(given) if not isinstance(given, str) else _parsed(given)
    if math.isnan(seconds):
        raise ApiError(400, "keep_alive is a number of seconds, or a text such as 5m.", param="keep_alive")
    return math.inf if seconds < 0 else seconds


def _parsed(text: str) -> float:
    unsigned = text.removeprefix("-").removeprefix("+")
    parts = list(_PART.finditer(unsigned))
    if unsigned.replace(".", "", 1).isdecimal():
        seconds = float(unsigned)
    elif parts and "".join(part[0] for part in parts) == unsigned:
        seconds = sum(float(part[1]) * _SECONDS[part[2]] for part in parts)
    else:
        raise ApiError(
            400, f"keep_alive is a number of seconds, or a text such as 5m, not {shown(text)}.", param="keep_alive"
        )
    return -seconds if text.startswith("-") else seconds
