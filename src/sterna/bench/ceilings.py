"""What the machine can do at most, measured again and again beside a model."""

from __future__ import annotations

import statistics

from sterna import _native

READ_BYTES = 1 << 29
"""Size in bytes of the buffer whose reading is timed: many times that of any processor's caches."""

FLIP = 2.0
"""The bus changed its state where the latency of a cache line changed by more than this factor."""

SHARED_NS = 1000.0
"""No bus is as slow as this: a thread waited until another program left its processor."""


class Ceilings:
    """Medians of what `threads` threads together reach. Each `measure_...` adds one measurement."""

    def __init__(self, isa: str, threads: int) -> None:
        self._isa, self._threads = isa, threads
        self._memory: list[float] = []
        self._one_thread: list[float] = []
        self._int8: list[float] = []
        self.line_ns_seen: list[float] = []
        """All latencies of a cache line, in order."""

    def measure_memory(self) -> None:
        """Reading, by all threads and by one."""
        self._memory.append(_native.read_bandwidth(self._isa, READ_BYTES, self._threads) / 1e9)
        alone = self._threads == 1
        self._one_thread.append(self._memory[-1] if alone else _native.read_bandwidth(self._isa, READ_BYTES, 1) / 1e9)

    def measure_int8(self) -> None:
        """Multiply-adds on registers."""
        self._int8.append(_native.multiply_add_rate(self._isa, self._threads) / 1e9)

    def measure_line(self) -> None:
        """How long a cache line takes from one thread to another; nothing with one thread."""
        if self._threads > 1:
            self.line_ns_seen.append(_native.line_latency())

    @property
    def memory_gbs(self) -> float:
        """1e9 bytes a second."""
        return statistics.median(self._memory)

    @property
    def memory_gbs_one_thread(self) -> float:
        """1e9 bytes a second that one thread reads alone."""
        return statistics.median(self._one_thread)

    @property
    def int8_gmacs(self) -> float:
        """1e9 int8 multiply-adds a second."""
        return statistics.median(self._int8)

    @property
    def line_ns(self) -> float | None:
        """Nanoseconds; None with one thread."""
        return statistics.median(self.line_ns_seen) if self.line_ns_seen else None
