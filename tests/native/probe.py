"""Builds the kernel probe (native, with sanitizers, for ARM under qemu) and calls kernels through it."""

from __future__ import annotations

import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

REPO = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Probe:
    """One build of the probe and the instruction set to ask it for."""

    command: tuple[str, ...]
    isa: str
    build: str = "native"

    def call(self, operation: str, *numbers: int, arrays: tuple[np.ndarray, ...] = ()) -> list[bytes]:
        """The bytes of the arrays that the kernel returned."""
        payload = b"".join(struct.pack("<Q", a.nbytes) + np.ascontiguousarray(a).tobytes() for a in arrays)
        result = subprocess.run(
            [*self.command, self.isa, operation, *map(str, numbers)], input=payload, capture_output=True, timeout=120
        )
        assert result.returncode == 0, result.stderr.decode()
        outputs, at = [], 0
        while at < len(result.stdout):
            (size,) = struct.unpack_from("<Q", result.stdout, at)
            outputs.append(result.stdout[at + 8 : at + 8 + size])
            at += 8 + size
        return outputs


def build(folder: Path, *options: str) -> Path:
    """Configures and builds `sterna_probe` in `folder`; returns the path of the program."""
    cmake = shutil.which("cmake")
    assert cmake, "cmake is missing: pip install '.[test]' brings it"
    configure = [cmake, "-S", str(REPO), "-B", str(folder), "-DSTERNA_PYTHON=OFF", "-DSTERNA_PROBE=ON", *options]
    for command in (configure, [cmake, "--build", str(folder), "-j2"]):
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr
    return folder / "sterna_probe"
