"""Writes files atomically: a file appears complete or not at all.

What is incomplete lies in a folder with a hidden name beside its target. Its writer holds the lock of a file in that
folder, which ends with the process, so a later writer of the same target recognises and removes what a killed process
left.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sterna.files.locks import lock

LOCK_FILE = ".lock"


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a temporary file for writing; it becomes or replaces `path` when the block ends without an error.

    The bytes are on disk (fsync) before the name changes. After an error the temporary file is gone and `path` is
    untouched. Raises OSError, which names `path`.
    """
    path = Path(path)
    with staging(path) as folder:
        with open(folder / "file", "w+b") as file:
            yield file
        publish(folder / "file", path)


@contextmanager
def staging(beside: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary folder on the disk where `beside` is or will be; it is deleted at the end with everything in it.

    `publish` gives a file made in it its final name. Raises OSError, which names `beside`.
    """
    beside = Path(beside)
    with _errors_name(beside):
        _remove_stale(beside)
        folder, held = _new_folder(beside)
        try:
            yield folder
        finally:
            _remove(folder, held)


def publish(staged: Path, path: Path) -> None:
    """Gives a staged file or folder of files the name `path` once its bytes are on disk; replaces a file of that name.

    A folder that has the name is moved into the staging folder, and is deleted with it.
    """
    for file in (each for each in staged.rglob("*") if each.is_file()) if staged.is_dir() else [staged]:
        with open(file, "r+b" if os.name == "nt" else "rb") as opened:  # Windows syncs no file that is only read
            os.fsync(opened.fileno())
    if staged.is_dir() and path.exists():
        os.rename(path, staged.parent / "replaced")
    os.replace(staged, path)


def _new_folder(target: Path) -> tuple[Path, BinaryIO]:
    """A new temporary folder of `target`, and the file that holds its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp"))
        try:
            held = open(folder / LOCK_FILE, "ab")
        except FileNotFoundError:
            continue  # Another writer of the target removed the folder before it was locked.
        lock(held, wait=True)
        if folder.exists():
            return folder, held
        held.close()


def _remove_stale(target: Path) -> None:
    """Removes the temporary folders of `target` whose writers have ended."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.[a-z0-9_]{{8}}\.tmp")
    with os.scandir(target.parent) as entries:
        folders = [each for each in entries if pattern.fullmatch(each.name) and each.is_dir(follow_symlinks=False)]
    for folder in map(Path, folders):
        try:
            held = open(folder / LOCK_FILE, "ab")
        except OSError:  # It is gone, or belongs to someone else.
            continue
        if lock(held):
            _remove(folder, held)
        held.close()


def _remove(folder: Path, held: BinaryIO) -> None:
    """Deletes a temporary folder whose lock this process holds."""
    shutil.rmtree(folder, ignore_errors=True)
    held.close()
    if os.name == "nt":  # deletes no file that is open
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _errors_name(target: Path) -> Iterator[None]:
    """Makes an OSError name the target in place of its temporary file, which the caller does not know."""
    try:
        yield
    except OSError as error:
        hidden = os.path.join(target.parent, f".{target.name}.")
        if error.errno is not None and (error.filename is None or str(error.filename).startswith(hidden)):
            error.filename = os.fspath(target)
        raise
