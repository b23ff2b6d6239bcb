"""Files mapped into memory."""

from __future__ import annotations

import mmap
from contextlib import suppress
from typing import BinaryIO


def map_file(file: BinaryIO) -> mmap.mmap:
    """The whole of an open file, read-only, in huge pages where the system has them for files: whoever reads gigabytes
    waits less often for addresses. Raises OSError where it cannot be mapped."""
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):
            mapped.madvise(mmap.MADV_HUGEPAGE)
    return mapped
