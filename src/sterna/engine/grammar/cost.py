"""What one token may cost under a grammar, estimated from its text.

llguidance (1.9) follows a grammar with an Earley parser, which nothing interrupts while it looks at one byte. Where
many alternatives of a rule begin with a rule of many alternatives, it holds all of them at once, compares each that
ends with each that waits for it, and looks the outcome up among all others.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from sterna.errors import GrammarError

MAX_WORK = 20_000_000
"""Most of: all alternatives, times the sum over rules of their alternatives times their uses. Of 500 random grammars
below it the worst took 1.1 s for a token, nearly all less than 0.1 s (one thread of a Xeon)."""
MAX_ITEMS = 5000
"""Most items of the parser for one token; schemas of JSON need less than 200."""
OPTIONS = ("anyOf", "oneOf")
_TOKEN = re.compile(
    r"""
    "(?:\\.|[^"\\])*" | //[^\n]* | \#[^\n]* | /(?:\\.|[^/\\\n])+/
    | %json\s*(?P<json>\{)
    | (?P<rule>[A-Za-z_]\w*)\s*(?:\[[^\]\n]*\])?(?:\.-?\d+)?\s*:
    | (?P<name>[A-Za-z_]\w*)
    | (?P<alternative>\|)
    """,
    re.VERBOSE,
)


def check_lark(text: str) -> None:
    """Raises `GrammarError` for a grammar in Lark under which a token may take seconds."""
    alternatives: Counter[str] = Counter()
    uses: Counter[str] = Counter()
    rule, at = "", 0
    while found := _TOKEN.search(text, at):
        at = found.end()
        if found["rule"]:
            rule = found["rule"]
            alternatives[rule] += 1
        elif found["alternative"]:
            alternatives[rule] += 1
        elif found["name"]:
            uses[found["name"]] += 1
        elif found["json"]:
            try:
                schema, at = json.JSONDecoder().raw_decode(text, at - 1)
            except (ValueError, RecursionError):
                return  # it cannot be compiled
            check_schema(schema)
    # Names in capitals are terminals: those are compiled to one automaton.
    _check(alternatives, Counter({name: count for name, count in uses.items() if not name.isupper()}))


def check_schema(schema: Any) -> None:
    """Raises `GrammarError` for a JSON schema under which a token may take seconds."""
    alternatives: Counter[str] = Counter()
    uses: Counter[str] = Counter()
    left = [schema]
    while left:
        value = left.pop()
        if isinstance(value, Mapping):
            reference = value.get("$ref")
            if isinstance(reference, str):
                uses[reference] += 1
            alternatives["anyOf"] += _options(value)
            left += value.values()
        elif isinstance(value, list | tuple):
            left += value
    for reference in uses:
        alternatives[reference] = _all_options(referenced(schema, reference))
    _check(alternatives, uses)


def referenced(schema: Any, reference: str) -> Any:
    """What a `$ref` in a schema stands for; None where it is no place in it."""
    found = schema
    for key in reference.removeprefix("#").split("/")[1:]:
        found = found.get(key.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return found


def _all_options(schema: Any) -> int:
    """The alternatives with which a value begins that follows a schema, without those of its references."""
    found, left = 1, [schema]
    while left:
        value = left.pop()
        if isinstance(value, Mapping):
            found += _options(value)
            left += [part for key in (*OPTIONS, "allOf") if isinstance(value.get(key), list) for part in value[key]]
    return found


def _options(schema: Mapping[str, Any]) -> int:
    return sum(len(schema[key]) for key in OPTIONS if isinstance(schema.get(key), list))


def _check(alternatives: Counter[str], uses: Counter[str]) -> None:
    work = alternatives.total() * sum(count * uses[rule] for rule, count in alternatives.items())
    if work > MAX_WORK:
        worst = max(alternatives, key=lambda rule: alternatives[rule] * uses[rule])
        raise GrammarError(
            f"The grammar would take too long to follow: '{worst}' has {alternatives[worst]} alternatives and is used "
            f"{uses[worst]} times; make it simpler."
        )
