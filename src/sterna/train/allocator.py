"""Settings of the C library's allocator, with which training steps use the same memory again."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def keep_freed_memory() -> None:
    """Lets glibc keep freed memory for later allocations of any size; elsewhere nothing is changed.

    Each step allocates the same tensors of many megabytes. By default glibc returns them to the kernel, which clears
    every page again before its next use: a tenth of a step. The process keeps its peak of memory until it ends.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 2**30)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
