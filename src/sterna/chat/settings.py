"""The settings of a session that `/set` changes: the numbers among the options of sampling."""

from __future__ import annotations

from dataclasses import Field, fields, replace
from typing import Any

from sterna.engine.checks import Number, Whole
from sterna.engine.sampling import SamplingParams
from sterna.errors import ArgumentError, suggestion


def _name(field: Field[Any]) -> str:
    """The name of a setting: that of its flag, `max-tokens` for `-n/--max-tokens`."""
    flag: str = next(flag for flag in field.metadata["flags"] if flag.startswith("--"))
    return flag.removeprefix("--")


SETTINGS = {
    _name(field): field
    for field in fields(SamplingParams)
    if field.metadata["flags"] and isinstance(field.metadata["rule"], Number | Whole)
}
"""The field of each setting, by the setting's name."""


def changed(params: SamplingParams, name: str, value: str) -> SamplingParams:
    """`params` with one setting changed. Raises `ArgumentError` for an unknown setting, `OptionError` for a value that
    it cannot have."""
    field = SETTINGS.get(name.lstrip("-"))
    if field is None:
        raise ArgumentError(f"There is no setting '{name}'{suggestion(name, SETTINGS)}")
    return replace(params, **{field.name: field.metadata["rule"].read(name, value)})


def shown(params: SamplingParams) -> str:
    """All settings and their values, one a line."""
    width = max(map(len, SETTINGS))
    values = {name: getattr(params, field.name) for name, field in SETTINGS.items()}
    return "\n".join(f"{name:{width}}  {-1 if value is None else value}" for name, value in values.items())
