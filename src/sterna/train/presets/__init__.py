"""Recipes that a config can begin with: TOML files of this folder, each number with its source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sterna.errors import ArgumentError
from sterna.train.toml import read_table

FOLDER = Path(__file__).parent


def preset_names() -> list[str]:
    """The names that `preset` of a config may have."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def preset_table(name: object) -> dict[str, Any]:
    """The sections of a preset. Raises ArgumentError for a name that no preset has."""
    if name not in preset_names():
        raise ArgumentError(f"preset must be one of {', '.join(preset_names())}, not {name!r}.")
    return read_table(FOLDER / f"{name}.toml")


def describe_presets() -> list[str]:
    """A line for each preset: its name and the first line of its file, which is a comment."""
    return [f"{name:14} {_title(FOLDER / f'{name}.toml')}" for name in preset_names()]


def _title(path: Path) -> str:
    return path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
