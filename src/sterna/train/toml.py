"""TOML tables as dataclasses: every key and type is checked, and a file's keys can be replaced."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from sterna.errors import ArgumentError, reason

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")


def read_table(path: Path) -> dict[str, Any]:
    """The table of a TOML file. Raises ArgumentError for a missing file and for broken TOML."""
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArgumentError(f"Cannot read the training config {path}: {reason(error)}.") from error


def replace_key(table: dict[str, Any], override: str) -> None:
    """Replaces one key of a table, as `training.steps=100` says. A value is TOML; what is not TOML is a string.

    Raises ArgumentError for an override without a key or a value.
    """
    key, equals, text = override.partition("=")
    *sections, name = key.strip().split(".")
    try:
        value = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        value = {}
    for section_name in sections:
        inner = table.setdefault(section_name, {})
        if not isinstance(inner, dict):
            raise ArgumentError(f"{section_name} is no section of the training config.")
        table = inner
    if not equals or not name:
        raise ArgumentError(f"{override!r} overrides nothing; write KEY=VALUE, such as training.steps=100.")
    # Text with a line break could hold more keys than one value.
    table[name] = value["value"] if value.keys() == {"value"} else text.strip()


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A table with the keys of both, key by key in their sections; where both have one, that of `over` counts."""
    both = dict(under)
    for key, value in over.items():
        below = both.get(key)
        both[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return both


def section(table: Any, kind: type[T], where: str = "") -> T:
    """A dataclass of `kind` from a table, which is called `where` in errors. Raises ArgumentError for unknown, missing
    and wrongly typed keys."""
    if not isinstance(table, dict):
        raise ArgumentError(f"{where} must be a table.")
    prefix = f"{where}." if where else ""
    known = {_key(entry): entry for entry in fields(kind)}  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            raise ArgumentError(f"Unknown key {prefix}{key} in the training config; known here: {', '.join(known)}.")
    for name, entry in known.items():
        if name not in table and entry.default is MISSING and entry.default_factory is MISSING:
            raise ArgumentError(f"The training config lacks {prefix}{name}.")
    hints = get_type_hints(kind)
    names = {key: entry.name for key, entry in known.items()}
    return kind(**{names[key]: _typed(value, hints[names[key]], f"{prefix}{key}") for key, value in table.items()})


def check(*conditions: tuple[bool, str]) -> None:
    """Raises ArgumentError with the first sentence whose condition is false."""
    for holds, sentence in conditions:
        if not holds:
            raise ArgumentError(f"{sentence}.")


def check_name(name: str) -> None:
    """Raises ArgumentError for a name of a run that is not plain: files are called so."""
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) is not None
    check((plain, "name must consist of letters, digits, '.', '_' and '-'"))


def _key(entry: Field[Any]) -> str:
    """The key of a field, which its metadata may give, because a keyword of Python is no name."""
    key: str = entry.metadata.get("key", entry.name)
    return key


def _typed(value: Any, hint: Any, where: str) -> Any:
    """`value` as the type `hint`. TOML integers are accepted as floats, booleans are not accepted as integers."""
    if get_origin(hint) is list:
        (item,) = get_args(hint)
        if not isinstance(value, list) or not value:
            raise ArgumentError(f"{where} must be a list that is not empty.")
        return [_typed(entry, item, where) for entry in value]
    if get_origin(hint) is dict:
        if not isinstance(value, dict):
            raise ArgumentError(f"{where} must be a table.")
        return {key: _typed(entry, get_args(hint)[1], f"{where}.{key}") for key, entry in value.items()}
    if type(None) in get_args(hint):  # TOML has no null: the key is left out
        return _typed(value, get_args(hint)[0], where)
    if isinstance(hint, type) and hasattr(hint, "__dataclass_fields__"):
        return section(value, hint, where)
    if type(value) is int and not -(2**63) <= value < 2**63:
        raise ArgumentError(f"{where} does not fit the 64 bits of TOML's integers.")
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ArgumentError(f"{where} must be of type {hint.__name__}, not {type(value).__name__}.")
    return value
