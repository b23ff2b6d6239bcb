"""Builds of the probe for other systems, by the clang that `pip install ziglang` brings with their libraries."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from .probe import build

SYSTEMS = {
    "aarch64-macos": ("Darwin", "arm64"),
    "x86_64-macos": ("Darwin", "x86_64"),
    "x86_64-windows-gnu": ("Windows", "AMD64"),
    "x86_64-linux-musl": ("Linux", "x86_64"),
    "aarch64-linux-musl": ("Linux", "aarch64"),
}
"""CMake's name of the system and of its processor, by zig's name of the target."""

TOOL = """#!/bin/bash
# zig takes the options of clang, but for the names of ARM's architectures.
exec {python} -m ziglang {arguments} "${{@/#-march=armv8.2-a/-mcpu=generic+v8_2a}}"
"""


def build_for(target: str, folder: Path) -> Path:
    """The probe for a target of `SYSTEMS`. Skips the test where zig is missing."""
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("needs pip install ziglang")
    system, processor = SYSTEMS[target]
    for name, arguments in {"c++": f"c++ -target {target}", "ar": "ar", "ranlib": "ranlib"}.items():
        tool = folder / name
        tool.write_text(TOOL.format(python=sys.executable, arguments=arguments))
        tool.chmod(0o755)
    program = build(
        folder / "build",
        f"-DCMAKE_SYSTEM_NAME={system}",
        f"-DCMAKE_SYSTEM_PROCESSOR={processor}",
        f"-DCMAKE_CXX_COMPILER={folder / 'c++'}",
        f"-DCMAKE_AR={folder / 'ar'}",
        f"-DCMAKE_RANLIB={folder / 'ranlib'}",
    )
    return program.with_suffix(".exe") if system == "Windows" else program
