"""What NVIDIA's graphics cards say of their energy (NVML, by the package nvidia-ml-py)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sterna.bench.energy.summed import Summed


class Nvml:
    """All cards of this machine. Cards from Volta on count their energy; the power of older ones is summed over time.

    `nvml` is the module `pynvml` after `nvmlInit`, `handles` are its cards.
    """

    def __init__(self, nvml: Any, handles: list[Any], clock: Callable[[], float] = time.perf_counter) -> None:
        names = [_text(nvml.nvmlDeviceGetName(handle)) for handle in handles]
        self.source = f"NVML ({', '.join(names)})"
        self._cards = [_card(nvml, handle, clock) for handle in handles]
        self._began = [card() for card in self._cards]

    def joules(self) -> float:
        """Since this object was made. Raises OSError where a card can no longer be read."""
        return sum(card() - began for card, began in zip(self._cards, self._began, strict=True))


def find_nvml(clock: Callable[[], float] = time.perf_counter) -> Nvml | None:
    """The cards of this machine; None without any, without nvidia-ml-py, and where the driver does not answer."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return Nvml(pynvml, handles, clock) if handles else None
    except (pynvml.NVMLError, OSError):
        return None


def _card(nvml: Any, handle: Any, clock: Callable[[], float]) -> Callable[[], float]:
    """What gives a card's joules since some moment."""
    try:
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except nvml.NVMLError:
        return Summed(lambda: _read(nvml, nvml.nvmlDeviceGetPowerUsage, handle) / 1e3, clock)
    return lambda: _read(nvml, nvml.nvmlDeviceGetTotalEnergyConsumption, handle) / 1e3


def _read(nvml: Any, function: Callable[[Any], int], handle: Any) -> int:
    """Millijoules or milliwatts of a card."""
    try:
        return int(function(handle))
    except nvml.NVMLError as error:
        raise OSError(f"NVML: {error}") from error


def _text(name: str | bytes) -> str:
    """Old versions of nvidia-ml-py give bytes."""
    return name.decode(errors="replace") if isinstance(name, bytes) else name
