"""Settings of the C library's allocator: whether a training step keeps its memory for the next, or needs little."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def return_freed_memory() -> None:
    """Lets glibc return every freed block of a megabyte or more to the kernel at once; elsewhere nothing is changed.

    A step then takes the memory that it needs at one time, and no more: kept blocks of many sizes leave gaps. What that
    costs is a quarter of a step of adapters beside the 2B-4T model, which took 1.7 GB so, and 2.5 GB otherwise.
    """
    _mallopt(_M_MMAP_THRESHOLD, 2**20)


def keep_freed_memory() -> None:
    """Lets glibc keep freed memory for later allocations of any size; elsewhere nothing is changed.

    Each step allocates the same tensors of many megabytes. By default glibc returns them to the kernel, which clears
    every page again before its next use: a tenth of a step. The process keeps its peak of memory until it ends.
    """
    _mallopt(_M_MMAP_THRESHOLD, 2**30)
    _mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _mallopt(parameter: int, value: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(parameter, value)
