"""Locks of open files. They end with the process that holds them, however it ends."""

from __future__ import annotations

import os
import sys
from typing import BinaryIO, TextIO

_FAR = 1 << 62
"""Windows locks bytes, and lets nobody else read or write them: this one is beyond the end of any file."""


def lock(file: BinaryIO | TextIO, wait: bool = False) -> bool | None:
    """Locks an open file until it is closed. False where another process holds the lock, None where it cannot be had at
    all: some network disks have no locks. `wait`: until the other one has closed the file."""
    try:
        _lock(file.fileno(), wait)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int, wait: bool) -> None:
        position = os.lseek(descriptor, 0, os.SEEK_CUR)
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(error.errno, error.strerror) from None
        finally:
            os.lseek(descriptor, position, os.SEEK_SET)

else:
    import fcntl

    def _lock(descriptor: int, wait: bool) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
