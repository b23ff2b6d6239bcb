"""One fixture, `probe`: every build of the kernels that this machine can run."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

import pytest

from .probe import Probe, build
from .zig import build_for

X86 = platform.machine() == "x86_64"
HOST_ISAS = ("scalar", "avx2", "avxvnni", "avx512vnni", "amx") if X86 else ("scalar", "neon", "neon-i8mm")
CPU_FLAGS = {
    "avx2": "avx2",
    "avxvnni": "avx_vnni",
    "avx512vnni": "avx512_vnni",
    "amx": "amx_bf16",
    "neon-i8mm": "i8mm",
}
CPUINFO = Path("/proc/cpuinfo")
FLAGS_HERE = CPUINFO.read_text().split() if CPUINFO.exists() else []
LACKING = [isa for isa in HOST_ISAS if isa in CPU_FLAGS and CPU_FLAGS[isa] not in FLAGS_HERE]
"""Instruction sets that this processor does not have."""
BUILDS = {
    "native": (),
    # -O1 is built in three fifths of the time of -O2.
    "sanitized": ("-DSTERNA_SANITIZE=address,undefined", "-DCMAKE_BUILD_TYPE=None", "-DCMAKE_CXX_FLAGS=-O1"),
    "aarch64": (
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        "-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++",
        "-DCMAKE_EXE_LINKER_FLAGS=-static",
    ),
}
TARGETS = [(name, isa) for name in ("native", "sanitized") for isa in HOST_ISAS]
TARGETS += [("aarch64", isa) for isa in ("scalar", "neon", "neon-i8mm")] if X86 else []
RARE = {("native", "avxvnni"), ("sanitized", "avxvnni"), ("aarch64", "scalar")}
"""Only in the slow job: AVX-VNNI has the code of AVX2 but for one instruction, and scalar code is that of x86."""
EMULATORS = {
    "aarch64": ("qemu-aarch64", "-cpu", "max"),
    "aarch64-linux-musl": ("qemu-aarch64", "-cpu", "max"),
    "x86_64-windows-gnu": ("wine",),
}
if X86:
    # Builds by another compiler, with the libraries of other systems. Tiles are for Linux alone.
    RARE |= {("x86_64-windows-gnu", isa) for isa in HOST_ISAS if isa != "amx"}
    RARE |= {("x86_64-linux-musl", isa) for isa in HOST_ISAS}
    RARE |= {("aarch64-linux-musl", isa) for isa in ("scalar", "neon", "neon-i8mm")}
TARGETS += sorted(RARE - set(TARGETS))


def unchecked(session: pytest.Session) -> str:
    """The option of CMake that builds the kernels without sanitizers that no test of this session runs."""
    asked = {item.callspec.params.get("probe") for item in session.items if hasattr(item, "callspec")}
    not_run = [isa for isa in HOST_ISAS if isa in LACKING or ("sanitized", isa) not in asked]
    return "-DSTERNA_UNCHECKED=" + ";".join(f"isa_{isa.replace('-', '_')}.cpp" for isa in not_run)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Probe programs by build; each is built when a test first needs it."""
    return {}


@pytest.fixture(
    scope="session",
    params=[
        pytest.param(target, id="-".join(target), marks=[pytest.mark.slow] if target in RARE else [])
        for target in TARGETS
    ],
)
def probe(request: pytest.FixtureRequest, programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Probe:
    name, isa = request.param
    emulator = EMULATORS.get(name, ())
    if emulator and not shutil.which(emulator[0]) or name == "aarch64" and not shutil.which("aarch64-linux-gnu-g++"):
        pytest.skip("needs Debian's g++-aarch64-linux-gnu, qemu-user and wine")
    if not name.startswith("aarch64") and isa in LACKING:
        pytest.skip(f"this processor has no {isa}")
    if name not in programs:
        folder = tmp_path_factory.mktemp(name)
        checks = [unchecked(request.session)] if name == "sanitized" else []
        programs[name] = build(folder, *BUILDS[name], *checks) if name in BUILDS else build_for(name, folder)
    return Probe((*emulator, str(programs[name])), isa, name)
