"""The GPU that a model runs on, and what it takes to use it."""

from __future__ import annotations

import subprocess

import torch
import triton

from sterna.errors import UnsupportedError


def open_device(number: int) -> torch.device:
    """The GPU of this number. In Triton's interpreter (`TRITON_INTERPRET=1`) kernels run on the CPU, whatever there is.

    Raises `UnsupportedError` where torch sees no such GPU, or one that is too old (before compute capability 8.0), and
    as `check_compiler`.
    """
    if interpreted():
        return torch.device("cpu")
    if torch.version.cuda is None or not torch.cuda.is_available():  # the second holds for AMD's GPUs, too
        reason = "is built without CUDA" if torch.version.cuda is None else "finds no driver or no GPU"
        raise UnsupportedError(f"There is no GPU to use: torch {torch.__version__} {reason}; use the device cpu.")
    count = torch.cuda.device_count()
    if number >= count:
        has = "is one GPU, cuda:0" if count == 1 else f"are {count} GPUs, cuda:0 to cuda:{count - 1}"
        raise UnsupportedError(f"There is no GPU cuda:{number}: there {has}.")
    major, minor = torch.cuda.get_device_capability(number)
    if major < 8:
        raise UnsupportedError(
            f"The GPU cuda:{number} has compute capability {major}.{minor}, and Sterna's kernels need 8.0; "
            "use the device cpu."
        )
    check_compiler()
    return torch.device("cuda", number)


def check_compiler() -> None:
    """Makes Triton build the module that launches kernels, unless it is built already. Raises `UnsupportedError` where
    that fails: it needs a C compiler, and the headers of C and of Python."""
    try:
        triton.runtime.driver.active.get_current_device()
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        reason = "its C compiler failed" if isinstance(error, subprocess.CalledProcessError) else str(error).rstrip(".")
        raise UnsupportedError(
            f"Triton cannot launch kernels ({reason}); it needs a C compiler and the headers of Python: on Debian, "
            "apt install gcc libc6-dev python3-dev."
        ) from None


def is_usable() -> bool:
    """Whether the first GPU can be used."""
    try:
        open_device(0)
    except UnsupportedError:
        return False
    return True


def interpreted() -> bool:
    """Whether Triton interprets kernels on the CPU, for tests."""
    return bool(triton.knobs.runtime.interpret)


def describe(device: torch.device) -> str:
    """The name of a device for people."""
    if device.type == "cpu":
        return "Triton's interpreter"
    return f"cuda:{device.index} ({torch.cuda.get_device_name(device)})"


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on a GPU; None for the interpreter."""
    return None if device.type == "cpu" else torch.cuda.mem_get_info(device)[0]
