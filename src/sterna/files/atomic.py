"""Writes files atomically: a file appears complete or not at all.

An incomplete file or folder lies beside its target under a hidden name. Its writer holds a lock on it (flock), which
ends with the process, so a later writer of the same target recognises and removes what a killed process left.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a temporary file beside `path` for writing; it replaces `path` when the block ends without an error.

    The bytes are on disk (fsync) before the name changes. After an error the temporary file is gone and `path` is
    untouched. Raises OSError, which names `path`.
    """
    path = Path(path)
    umask = os.umask(0)
    os.umask(umask)
    with _errors_name(path):
        _remove_stale(path)
        temporary, lock = _locked(path, _new_file)
        with os.fdopen(lock, "w+b") as file:
            try:
                yield file
                file.flush()
                os.fchmod(file.fileno(), 0o666 & ~umask)
                os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise


@contextmanager
def staging(beside: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary folder on the disk where `beside` is or will be; it is deleted at the end with everything in it.

    `publish` gives a file made in it its final name. Raises OSError, which names `beside`.
    """
    beside = Path(beside)
    with _errors_name(beside):
        _remove_stale(beside)
        folder, lock = _locked(beside, _new_folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def publish(staged: Path, path: Path) -> None:
    """Gives a staged file or folder of files the name `path` once its bytes are on disk; replaces a file of that name.

    A folder that has the name is moved into the staging folder, and is deleted with it.
    """
    for file in (each for each in staged.rglob("*") if each.is_file()) if staged.is_dir() else [staged]:
        with open(file, "rb") as opened:
            os.fsync(opened.fileno())
    if staged.is_dir() and path.exists():
        os.rename(path, staged.parent / "replaced")
    os.replace(staged, path)


def _new_file(folder: Path, prefix: str) -> tuple[Path, int]:
    file, name = tempfile.mkstemp(dir=folder, prefix=prefix, suffix=".tmp")
    return Path(name), file


def _new_folder(folder: Path, prefix: str) -> tuple[Path, int]:
    name = tempfile.mkdtemp(dir=folder, prefix=prefix, suffix=".tmp")
    return Path(name), os.open(name, os.O_RDONLY)


def _locked(target: Path, new: Callable[[Path, str], tuple[Path, int]]) -> tuple[Path, int]:
    """A new temporary file or folder, and the descriptor that holds its lock."""
    while True:
        path, lock = new(target.parent, f".{target.name}.")
        _lock(lock, wait=True)
        if path.exists():
            return path, lock
        os.close(lock)  # Another writer of the target removed it before it was locked.


def _lock(descriptor: int, wait: bool) -> bool:
    """Whether the file or folder of `descriptor` could be locked. Some network disks have no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _remove_stale(target: Path) -> None:
    """Removes the temporary files and folders of `target` whose writers have ended."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.[a-z0-9_]{{8}}\.tmp")
    with os.scandir(target.parent) as entries:
        stale = [entry for entry in entries if pattern.fullmatch(entry.name) and not entry.is_symlink()]
    for entry in stale:
        try:
            lock = os.open(entry.path, os.O_RDONLY if entry.is_dir() else os.O_RDWR | os.O_NONBLOCK)
        except OSError:  # It is gone, or belongs to someone else.
            continue
        try:
            if not _lock(lock, wait=False):
                continue
            # Another writer of the target may have removed it since it was opened.
            if entry.is_dir():
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                Path(entry.path).unlink(missing_ok=True)
        finally:
            os.close(lock)


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
