"""The devices that a model can run on: the CPU, or a GPU. What a GPU needs is imported only where one is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from sterna.engine.backend import Backend
from sterna.engine.native import NativeBackend
from sterna.errors import UnsupportedError
from sterna.model.plan import Plan
from sterna.tensor.tensor import Tensor

NEEDED = ("torch", "triton")


def choose_device(device: str) -> str:
    """`cpu`, or `cuda:N`, by the `device` of `EngineOptions`; `auto` is the first GPU that can be used, else the CPU.

    Raises `UnsupportedError` where a GPU is asked for by name and cannot be used.
    """
    if device == "cpu":
        return device
    missing = [name for name in NEEDED if find_spec(name) is None]
    if device == "auto":
        if missing:
            return "cpu"
        from sterna.gpu.device import is_usable

        return "cuda:0" if is_usable() else "cpu"
    if missing:
        raise UnsupportedError(f"A model on a GPU needs {' and '.join(missing)}; pip install 'sterna[gpu]'.")
    return device if ":" in device else f"{device}:0"


def open_backend(
    device: str,
    plan: Plan,
    tensors: Mapping[str, Tensor],
    *,
    isa: str,
    threads: int,
    blocks: int,
    least_blocks: int = 1,
    kv: str = "f16",
    mmap: bool | None = None,
) -> Backend:
    """The backend of a device as `choose_device` names it. `isa`, `threads` and `mmap` are the CPU's. Raises as
    `NativeBackend` and `GpuBackend`."""
    pools = {"blocks": blocks, "least_blocks": least_blocks}
    if device == "cpu":
        return NativeBackend(plan, tensors, isa=isa, threads=threads, kv=kv, mmap=mmap, **pools)
    from sterna.gpu.backend import GpuBackend

    return GpuBackend(plan, tensors, number=int(device.partition(":")[2]), kv=kv, **pools)
