"""Maps files into memory."""

from __future__ import annotations

import mmap
from contextlib import suppress
from typing import BinaryIO


def map_file(file: BinaryIO) -> mmap.mmap:
    """A read-only mapping of a whole open file, in huge pages where the system has them for files: fewer TLB misses
    when gigabytes are read. Raises OSError where the file cannot be mapped."""
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):
            mapped.madvise(mmap.MADV_HUGEPAGE)
    return mapped
