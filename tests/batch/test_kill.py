"""A job whose process is killed, or interrupted, at random moments."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.batch.jobs import mixed_lines, write_lines

LINES = 800


def start(source: Path, output: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sterna", "batch", str(source), str(output)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The folder of a job that nobody disturbed, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("unbroken")
    began = time.monotonic()
    process = start(write_lines(folder / "in.jsonl", mixed_lines(LINES)), folder / "out.jsonl")
    assert process.wait(600) == 3
    return folder, time.monotonic() - began


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_a_killed_job_goes_on_to_the_same_bytes(kills: int, unbroken: tuple[Path, float], tmp_path: Path) -> None:
    folder, seconds = unbroken
    seed = int(os.environ.get("STERNA_TEST_SEED", random.randrange(2**32)))
    print(f"STERNA_TEST_SEED={seed}")
    moments, killed = random.Random(seed), 0
    while killed < kills:
        process = start(folder / "in.jsonl", tmp_path / "out.jsonl")
        time.sleep(moments.uniform(0.2, 0.9) * seconds)
        process.kill()
        killed += process.wait() == -signal.SIGKILL
        if process.returncode == 3:  # it was quicker, and a new job is begun
            compare(folder, tmp_path)
            for path in tmp_path.iterdir():
                path.unlink()
    assert start(folder / "in.jsonl", tmp_path / "out.jsonl").wait(600) == 3
    compare(folder, tmp_path)


def compare(folder: Path, other: Path) -> None:
    names = {"out.jsonl", "out.jsonl.errors.jsonl"}
    assert {path.name for path in other.iterdir()} == names
    for name in names:
        assert (other / name).read_bytes() == (folder / name).read_bytes()


def test_an_interrupted_job_says_how_to_go_on(unbroken: tuple[Path, float], tmp_path: Path) -> None:
    folder, seconds = unbroken
    process = start(folder / "in.jsonl", tmp_path / "out.jsonl")
    while not (tmp_path / "out.jsonl.journal").exists() or not (tmp_path / "out.jsonl.journal").stat().st_size:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command goes on from there" in told
    assert start(folder / "in.jsonl", tmp_path / "out.jsonl").wait(600) == 3
    compare(folder, tmp_path)
