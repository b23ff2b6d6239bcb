"""benchmarks/compare.py against a program that answers as llama-bench does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sterna.files.embedded import EMBEDDED_MODEL

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "compare.py"
PEER = """#!/bin/sh
echo '[{"n_prompt": 16, "n_gen": 0, "avg_ts": 4.0}, {"n_prompt": 0, "n_gen": 8, "avg_ts": 2.0}]'
"""


def compare(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(EMBEDDED_MODEL), "-p", "16", "-n", "8", "-r", "1", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_ratios_to_a_peer_are_told(tmp_path: Path) -> None:
    peer = tmp_path / "llama-bench"
    peer.write_text(PEER)
    peer.chmod(0o755)
    result = compare("--peer", f"slow={peer}", "--peer", f"own={peer}:{tmp_path / 'other.gguf'}")
    assert result.returncode == 0, result.stderr
    lines = {line.split()[0]: line.split() for line in result.stdout.splitlines()}
    assert set(lines) == {"engine", "sterna", "slow", "own"}
    assert lines["slow"][1:3] == ["4.0", "2.0"] and float(lines["slow"][3]) > 1
    assert abs(float(lines["slow"][3]) - float(lines["sterna"][1]) / 4.0) < 0.05


def test_a_peer_that_cannot_run_is_one_sentence() -> None:
    result = compare("--peer", "none=/nowhere/llama-bench")
    assert result.returncode == 1 and "/nowhere/llama-bench cannot be run" in result.stderr
    assert "Traceback" not in result.stderr
