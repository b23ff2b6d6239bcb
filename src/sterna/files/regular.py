"""Opens files that people name: regular files alone, so that no reader waits for a pipe or reads a device."""

from __future__ import annotations

import os
import stat
from typing import BinaryIO

from sterna.errors import FormatError, NotFoundError

KINDS = {
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}
STAND_INS = {
    b"version https://git-lfs.github.com/spec/": (
        "is a git-lfs pointer, not the file itself: run `git lfs pull` in its folder, or download the file again"
    ),
    b"<!doctype html": "is a web page, not the file itself: download the file from its /resolve/ address",
    b"<html": "is a web page, not the file itself: download the file from its /resolve/ address",
    b"<?xml": "is a server's answer in XML, not the file itself: download the file again",
}
"""What downloads leave in place of a file, by the lower-case bytes with which it begins."""


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens a file for reading, without ever waiting.

    Raises NotFoundError where there is no readable file (none at all, a folder, a pipe, a socket, a device), and
    FormatError where the file is empty, or a stand-in for the one that was wanted.
    """
    try:
        check_kind(path, os.stat(path).st_mode)
        file = open(path, "rb", opener=_without_waiting)
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        status = os.fstat(file.fileno())
        check_kind(path, status.st_mode)
        if status.st_size == 0:
            raise FormatError(f"{path} is empty, too short to be a file of its kind (a broken download?).")
        _check_start(path, file)
    except BaseException:
        file.close()
        raise
    return file


def check_kind(path: str | os.PathLike[str], mode: int) -> None:
    """Raises NotFoundError for what is no regular file, by its `st_mode`."""
    kind = stat.S_IFMT(mode)
    if kind != stat.S_IFREG:
        raise NotFoundError(f"{path} cannot be read: it is {KINDS.get(kind, 'something else')}, not a file.")


def _without_waiting(path: str, flags: int) -> int:
    """Opens even a pipe at once, should one have taken the file's place since it was looked at."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check_start(path: str | os.PathLike[str], file: BinaryIO) -> None:
    start = file.read(64).lstrip().lower()
    file.seek(0)
    for beginning, sentence in STAND_INS.items():
        if start.startswith(beginning):
            raise FormatError(f"{path} {sentence}.")
