"""The core is compiled for systems that this machine does not run."""

from __future__ import annotations

from pathlib import Path

import pytest

from .zig import build_for


@pytest.mark.slow
@pytest.mark.parametrize(
    "target, magic, processor",
    [
        ("aarch64-macos", b"\xcf\xfa\xed\xfe", b"\x0c\x00\x00\x01"),
        ("x86_64-macos", b"\xcf\xfa\xed\xfe", b"\x07\x00\x00\x01"),
    ],
)
def test_the_core_is_compiled_for_a_mac(target: str, magic: bytes, processor: bytes, tmp_path: Path) -> None:
    program = build_for(target, tmp_path).read_bytes()
    assert program[:8] == magic + processor and program.count(b"neon" if "aarch64" in target else b"avx2")
