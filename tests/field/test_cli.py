"""The command line in situations that failed in use."""

from __future__ import annotations

import os
import subprocess
import sys


def test_closed_stdout() -> None:
    result = subprocess.run(
        f"{sys.executable} -m sterna run -p a -n 1 --json >&-",
        shell=True,
        capture_output=True,
        text=True,
        env=os.environ,
    )
    assert (result.returncode, result.stderr) == (1, "Error: Cannot write to standard output: it is closed.\n")
