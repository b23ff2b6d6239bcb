"""The `sterna` command as tests run it: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys


def sterna(*arguments: str, stdin: str | bytes | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end; what it prints comes as text, in which bytes that are no UTF-8 are surrogates."""
    return subprocess.run(
        [sys.executable, "-m", "sterna", *arguments],
        input=stdin.decode("utf-8", "surrogateescape") if isinstance(stdin, bytes) else stdin,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=120,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL if stdin is None else None,
    )


def shell(command: str) -> subprocess.CompletedProcess[str]:
    """Runs a line of bash, in which `sterna` is the command."""
    line = f'sterna() {{ {sys.executable} -m sterna "$@"; }}; {command}'
    return subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
