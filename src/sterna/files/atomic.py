"""Writes files atomically: a file appears complete or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a temporary file beside `path` for writing; it replaces `path` when the block ends without an error.

    The bytes are on disk (fsync) before the name changes. After an error the temporary file is gone and `path` is
    untouched.
    """
    path = Path(path)
    umask = os.umask(0)
    os.umask(umask)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp", delete=False) as file:
        try:
            yield file  # type: ignore[misc]
            file.flush()
            os.fchmod(file.fileno(), 0o666 & ~umask)
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


@contextmanager
def staging(beside: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary folder on the disk where `beside` is or will be, deleted at the end with all that is still in it.

    `publish` gives a file made in it its final name.
    """
    beside = Path(beside)
    folder = Path(tempfile.mkdtemp(dir=beside.parent, prefix=f".{beside.name}.", suffix=".tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(staged: Path, path: Path) -> None:
    """Gives a staged file or folder of files the name `path` once its bytes are on disk; replaces a file of that name.

    A folder that has the name is moved into the staging folder, and is deleted with it.
    """
    for file in sorted(path for path in staged.rglob("*") if path.is_file()) if staged.is_dir() else [staged]:
        with open(file, "rb") as opened:
            os.fsync(opened.fileno())
    if staged.is_dir() and path.exists():
        os.rename(path, staged.parent / "replaced")
    os.replace(staged, path)
