"""Gives pages of mapped files back when they have been read, so that a large file does not fill the process's
memory."""

from __future__ import annotations

import mmap

import numpy as np


def release(data: np.ndarray) -> None:
    """Drops the pages that lie wholly within `data` from this process, if it is a part of a mapped file.

    They stay in the system's page cache and are read again when touched; nothing is lost. Where `data` is ordinary
    memory, or the system has no madvise, nothing happens.
    """
    mapped = mapping(data)
    if mapped is None or not hasattr(mmap, "MADV_DONTNEED") or not data.flags.c_contiguous:
        return
    start = _address(data) - _address(np.frombuffer(mapped, np.uint8))
    first, last = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, start + data.nbytes
    if last < len(mapped):
        last -= last % mmap.PAGESIZE
    if first < last:
        mapped.madvise(mmap.MADV_DONTNEED, first, last - first)


def mapping(data: np.ndarray) -> mmap.mmap | None:
    """The mapping, which is only read, whose part `data` is; None where it is other memory."""
    owner = data
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    mapped = owner.base.obj if isinstance(owner.base, memoryview) else owner.base
    return mapped if isinstance(mapped, mmap.mmap) and memoryview(mapped).readonly else None


def _address(array: np.ndarray) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
