"""JSON schemas as llguidance takes them: checked for size and depth, told to do without white space, and narrowed
to dates that exist and to numbers that end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sterna.engine.grammar.cost import check_schema
from sterna.errors import GrammarError

MAX_BYTES = 1 << 16
MAX_DEPTH = 64
"""Levels of lists and mappings in a schema; what `$ref` repeats does not count. llguidance reads no more than 127."""


def schema_text(schema: Any, item_separator: str = ",", key_separator: str = ":") -> str:
    """A schema (a mapping, a boolean, or JSON text) as JSON that llguidance compiles to a grammar.

    The separators are written between the entries of lists and objects, and after keys. Keywords that llguidance does
    not know to be checks are ignored, as JSON Schema says; those that are checks fail when it is compiled. Raises
    `GrammarError` for what is no schema, or is too large.
    """
    if isinstance(schema, str):
        schema = _parsed(schema)
    if schema is False:
        raise GrammarError("The schema 'false' allows no JSON at all.")
    if schema is True:
        schema = {}
    if not isinstance(schema, Mapping):
        raise GrammarError(f"A JSON schema is an object, not a {type(schema).__name__}.")
    check_depth(schema)
    check_schema(schema)
    form = {"whitespace_flexible": False, "item_separator": item_separator, "key_separator": key_separator}
    own = {key: value for key, value in _narrowed(schema).items() if key != "x-guidance"}  # it could switch checks off
    try:
        text = json.dumps({**own, "x-guidance": form}, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError):
        raise GrammarError("A JSON schema holds texts, finite numbers, lists and mappings, nothing else.") from None
    if len(text) > MAX_BYTES:
        raise GrammarError(f"A JSON schema of {len(text)} bytes is too long: {MAX_BYTES} are possible.")
    return text


_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_YEAR = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_DAY = "(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
_DATE = f"(?:{_YEAR}-{_DAY}|{_LEAP_YEAR}-02-29)"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
FORMATS = {"date": f"^{_DATE}$", "time": f"^{_TIME}$", "date-time": f"^{_DATE}T{_TIME}$"}
"""Formats of RFC 3339. llguidance's own allow the year 0, leap seconds, and 29 February in every year."""
DECIMALS = 9
"""Of a number between bounds. Without a limit a model that has lost itself writes digits for ever."""
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_OTHER_LIMITS = frozenset(("multipleOf", "enum", "const", "$ref", "allOf", "anyOf", "oneOf"))
_MAPS_OF_SCHEMAS = frozenset(("properties", "patternProperties", "$defs", "definitions"))
_DATA = frozenset(("const", "enum", "default", "examples"))


def _narrowed(schema: Any, alone: bool = True) -> Any:
    """The schema with `FORMATS` as patterns and `DECIMALS` as `multipleOf`, so that fewer answers are allowed, and no
    others. `alone`: no other schema in an `allOf` may ask for other numbers."""
    if isinstance(schema, list | tuple):
        return [_narrowed(entry, alone) for entry in schema]
    if not isinstance(schema, Mapping):
        return schema
    narrowed: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _MAPS_OF_SCHEMAS and isinstance(value, Mapping):
            narrowed[key] = {name: _narrowed(entry) for name, entry in value.items()}
        else:
            narrowed[key] = value if key in _DATA else _narrowed(value, key != "allOf")
    pattern = FORMATS.get(narrowed["format"]) if isinstance(narrowed.get("format"), str) else None
    others = narrowed.get("allOf", [])
    if pattern is not None and isinstance(others, list):
        del narrowed["format"]
        narrowed["allOf"] = [*others, {"pattern": pattern}]
    bounds = [narrowed[key] for key in _BOUNDS if isinstance(narrowed.get(key), int | float)]
    if narrowed.get("type") == "number" and bounds and alone and not _OTHER_LIMITS & narrowed.keys():
        if all(round(bound, DECIMALS - 3) == bound for bound in bounds):  # so that numbers are left
            narrowed["multipleOf"] = 10.0**-DECIMALS
    return narrowed


def _parsed(text: str) -> Any:
    if len(text) > MAX_BYTES:
        raise GrammarError(f"A JSON schema of {len(text)} characters is too long: {MAX_BYTES} are possible.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise GrammarError("The JSON schema is not valid JSON.") from None


def check_depth(value: Any) -> None:
    """Raises `GrammarError` for a value nested deeper than `MAX_DEPTH`."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for entry in level
            if isinstance(entry, Mapping | list | tuple)
            for item in (entry.values() if isinstance(entry, Mapping) else entry)
            if isinstance(item, Mapping | list | tuple)
        ]
        if not level:
            return
    raise GrammarError(f"The JSON schema is nested more than {MAX_DEPTH} levels deep.")
