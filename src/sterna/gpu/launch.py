"""How kernels are launched, those of training too."""

from __future__ import annotations

from typing import Any


def launch(kernel: Any, grid: tuple[int, ...], *arguments: object, **options: object) -> None:
    """Launches a Triton kernel. Products are rounded before anything is added to them: codes round as the CPU's and
    torch's do only then, and Triton's default differs between its versions."""
    kernel[grid](*arguments, enable_fp_fusion=False, **options)


def warps_for(width: int) -> int:
    """Warps for a row of so many numbers in registers."""
    return min(16, max(1, width // 512))
