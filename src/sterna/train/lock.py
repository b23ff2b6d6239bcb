"""Allows one training at a time in an output folder."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sterna.errors import ArgumentError, UnsupportedError

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
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UnsupportedError(
                f"Another training is running in {folder}; wait for it, or give this one another output folder."
            ) from None
        except OSError:
            pass  # Some network disks have no locks.
        yield
