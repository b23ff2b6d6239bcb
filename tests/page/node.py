"""Node and the packages of `web/`, for tests of what is written in TypeScript."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

WEB = Path(__file__).parents[2] / "web"
OLDEST_NODE = (20, 19)


def run(*command: str | Path, **more: Any) -> str:
    """Runs a command in `web/`. Returns what it printed; fails the test where the command does."""
    result = subprocess.run([*map(str, command)], cwd=WEB, capture_output=True, text=True, timeout=900, **more)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def install() -> None:
    """Installs the packages that `package-lock.json` names, unless they are there; skips the test without Node."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node and npm are not installed")
    version = run("node", "--version").strip()
    if tuple(map(int, version.removeprefix("v").split(".")[:2])) < OLDEST_NODE:
        pytest.skip(f"Node is {version}, and the tools of web/ need {'.'.join(map(str, OLDEST_NODE))}")
    installed, lock = WEB / "node_modules" / ".package-lock.json", WEB / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
        os.utime(installed)


def chromium() -> str:
    """The path of Chromium, the quicker one without windows first; skips the test without any."""
    for name in ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"):
        if (path := shutil.which(name)) is not None:
            return path
    pytest.skip("Chromium is not installed")
