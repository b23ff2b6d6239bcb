"""Allows one run at a time in an output folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sterna.errors import ArgumentError, UnsupportedError, reason
from sterna.files.locks import lock

LOCK_FILE = "train.lock"


@contextmanager
def locked(folder: Path, what: str = "training") -> Iterator[None]:
    """Makes the folder, and locks other runs out of it inside the block; errors call a run `what`. Raises
    UnsupportedError where another is running in it, ArgumentError for a folder that cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / LOCK_FILE, "w")
    except OSError as error:
        raise ArgumentError(f"Cannot make the output folder {folder}: {reason(error)}.") from error
    with file:
        if lock(file) is False:
            raise UnsupportedError(
                f"Another {what} is running in {folder}; wait for it, or give this one another output."
            )
        yield
