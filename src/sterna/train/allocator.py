"""Settings of the C library's allocator: whether a training step keeps its memory for the next, or needs little."""

from __future__ import annotations

import ctypes
import os

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def return_large_memory() -> None:
    """Returns what is free to the kernel, and lets glibc return freed blocks of 4 MB or more at once, and keep smaller
    ones; elsewhere nothing is changed.

    A step then takes little more memory than it needs at one time: kept blocks of many large sizes leave gaps (2.8 GB
    instead of 1.9 for adapters beside the 2B-4T model). Blocks that are returned come back as pages that the kernel
    clears, which for rows of a small model took a third of a step.
    """
    _mallopt(_M_MMAP_THRESHOLD, 2**22)
    _mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    _call("malloc_trim", 0)  # what reading the data and writing the tokenizer has left


def keep_freed_memory() -> None:
    """Lets glibc keep freed memory for later allocations of any size; elsewhere nothing is changed.

    Each step allocates the same tensors of many megabytes. By default glibc returns them to the kernel, which clears
    every page again before its next use: a tenth of a step. The process keeps its peak of memory until it ends.
    """
    _mallopt(_M_MMAP_THRESHOLD, 2**30)
    _mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _mallopt(parameter: int, value: int) -> None:
    _call("mallopt", parameter, value)


def _call(name: str, *arguments: int) -> None:
    # Windows has no handle of the whole process, and CDLL(None) raises TypeError there.
    function = getattr(ctypes.CDLL(None), name, None) if os.name == "posix" else None
    if function is not None:
        function(*arguments)
