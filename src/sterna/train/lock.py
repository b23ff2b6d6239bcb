"""Allows one training at a time in an output folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sterna.errors import ArgumentError, UnsupportedError
from sterna.files.locks import lock

LOCK_FILE = "train.lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes the folder, and locks other trainings out of it inside the block. Raises UnsupportedError where another
    training is running in it, ArgumentError for a folder that cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / LOCK_FILE, "w")
    except OSError as error:
        raise ArgumentError(f"Cannot make the output folder {folder}: {error}.") from error
    with file:
        if lock(file) is False:
            raise UnsupportedError(
                f"Another training is running in {folder}; wait for it, or give this one another output folder."
            )
        yield
