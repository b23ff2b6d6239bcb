"""The patterns of PEFT's `rank_pattern` and `alpha_pattern`, which give single modules numbers of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import prod
from typing import Any

from sterna.errors import FormatError, UnsupportedError
from sterna.files.json_values import mapping, number

MAX_PATTERNS, MAX_LENGTH, MAX_REPEATS = 1 << 14, 1 << 9, 2
MAX_WORK = 1 << 18
"""Bounds of what is matched, so that no file makes a search without end. Work: of all regular expressions together."""


class Pattern:
    """The number of each module: that of the first pattern that fits the end of its name, or the default."""

    def __init__(self, config: Mapping[str, Any], key: str, default: float) -> None:
        """`config`: an adapter_config.json, whose `key` is the pattern. Raises FormatError for what is no pattern, and
        UnsupportedError for one that might take for ever to match."""
        values = mapping(config, key)
        if len(values) > MAX_PATTERNS:
            raise FormatError(f"its {key} has {len(values)} entries.")
        self._default = default
        self._plain: dict[str, tuple[int, float]] = {}
        """The place and the number of each pattern that is the end of a name."""
        self._rules: list[tuple[re.Pattern[str], int, float]] = []
        """The regular expressions, with the same."""
        work = 0
        for order, (pattern, value) in enumerate(values.items()):
            entry = order, number(value, f"{key} of {pattern[:60]!r}")
            if re.fullmatch(r"[\w.-]*", pattern):
                self._plain[pattern] = entry
            else:
                work += _work(pattern)
                if work > MAX_WORK:
                    raise _endless(pattern, key)
                self._rules.append((_compiled(pattern, key), *entry))

    def of(self, module: str) -> float:
        """The number of a module (`model.layers.0.self_attn.q_proj`)."""
        found = [entry for end in _ends(module) if (entry := self._plain.get(end)) is not None]
        found += [(order, value) for rule, order, value in self._rules if rule.match(module)]
        return min(found)[1] if found else self._default


def _ends(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]


def _repeats(pattern: str) -> int:
    return len(re.findall(r"[*+?]", pattern))


def _work(pattern: str) -> int:
    """About how many ways there are to match a name of a module: each repeat has dozens of ends, and the alternatives
    of groups multiply (those between two brackets count as one more than their bars)."""
    return int(32 ** min(_repeats(pattern), 8) * prod(part.count("|") + 1 for part in re.split(r"[()]", pattern)))


def _endless(pattern: str, key: str) -> UnsupportedError:
    return UnsupportedError(
        f"its {key} has the pattern {pattern[:60]!r}, which Sterna does not match; give the names of its modules."
    )


def _compiled(pattern: str, key: str) -> re.Pattern[str]:
    """A regular expression for the end of a name, as PEFT makes it (`get_pattern_key`, peft 0.21)."""
    if len(pattern) > MAX_LENGTH or _repeats(pattern) > MAX_REPEATS or re.search(r"\)\s*[*+?{]|\{|\(\?|\\\d", pattern):
        raise _endless(pattern, key)
    try:
        return re.compile(rf"(.*\.)?({pattern})$")
    except (re.error, RecursionError, OverflowError) as error:
        raise FormatError(f"its {key} has the pattern {pattern[:60]!r}, which is no regular expression.") from error
