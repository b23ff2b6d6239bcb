"""Files that appear complete or not at all, and what killed writers leave."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from sterna.checkpoint.convert import convert
from sterna.errors import SternaError
from sterna.files import atomic
from sterna.files.atomic import atomic_write, publish, staging
from sterna.files.embedded import EMBEDDED_MODEL
from sterna.files.sizes import readable

WRITER = """
import sys, time
from sterna.files.atomic import atomic_write, staging
with {kind}(sys.argv[1]) as opened:
    if {kind} is staging:
        (opened / "part").write_bytes(b"half")
    print(flush=True)
    time.sleep(120)
"""


@pytest.fixture(params=["atomic_write", "staging"])
def writer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is writing `model`."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER.format(kind=request.param), tmp_path / "model"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"\n"
    yield process
    process.kill()
    process.communicate()


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def write(folder: Path, kind: str) -> None:
    if kind == "atomic_write":
        with atomic_write(folder / "model") as file:
            file.write(b"whole")
    else:
        with staging(folder / "model") as stage:
            (stage / "model").write_bytes(b"whole")
            publish(stage / "model", folder / "model")


@pytest.mark.parametrize("kind", ["atomic_write", "staging"])
def test_what_a_killed_writer_left_is_removed_by_the_next(
    writer: subprocess.Popen[bytes], tmp_path: Path, kind: str
) -> None:
    left = hidden(tmp_path)
    assert len(left) == 1
    write(tmp_path, kind)
    assert hidden(tmp_path) == left, "its writer is alive"
    writer.kill()
    writer.wait()
    assert hidden(tmp_path) == left
    write(tmp_path, kind)
    assert hidden(tmp_path) == [] and (tmp_path / "model").read_bytes() == b"whole"


def test_what_another_writer_removes_first_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left, lock = tmp_path / ".model.abcd1234.tmp", atomic.lock
    left.mkdir()

    def removed_before(file: BinaryIO, wait: bool = False) -> bool | None:
        if left.exists():
            shutil.rmtree(left)
        return lock(file, wait)

    monkeypatch.setattr(atomic, "lock", removed_before)
    write(tmp_path, "atomic_write")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_files_of_other_targets_stay(tmp_path: Path) -> None:
    others = [
        ".model.abcd0123.tmp",
        ".other.abcd1234.tmp",
        ".model.tmp",
        ".model.abc.tmp",
        ".model.abcd1234.tmp.bak",
        "model.abcd1234.tmp",
    ]
    for name in others:
        (tmp_path / name).touch()
    write(tmp_path, "atomic_write")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "model"])


def test_an_error_leaves_the_target_and_no_temporary(tmp_path: Path) -> None:
    write(tmp_path, "atomic_write")
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "model") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert hidden(tmp_path) == [] and (tmp_path / "model").read_bytes() == b"whole"


def test_errors_of_the_disk_name_the_target(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "file").touch()
    with pytest.raises(OSError) as replaced, atomic_write(tmp_path / "model") as file:
        file.write(b"whole")
    assert replaced.value.filename == str(tmp_path / "model")
    with pytest.raises(OSError) as full, atomic_write(tmp_path / "file") as file:
        raise OSError(errno.ENOSPC, "No space left on device")
    assert full.value.filename == str(tmp_path / "file")
    with pytest.raises(FileNotFoundError) as other, atomic_write(tmp_path / "file") as file:
        open(tmp_path / "absent")
    assert other.value.filename == str(tmp_path / "absent")
    assert hidden(tmp_path) == []


def test_sizes_have_the_unit_that_shows_them() -> None:
    sizes = [0, 999, 1000, 41_000, 999_949, 73_500_000, 1_200_000_000, 3_456_700_000_000]
    assert [readable(size) for size in sizes] == [
        "0 bytes", "999 bytes", "1.0 kB", "41.0 kB", "999.9 kB", "73.5 MB", "1.2 GB", "3,456.7 GB",
    ]  # fmt: skip


def test_a_full_disk_is_told_in_sizes_that_say_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type(shutil.disk_usage(tmp_path))(10**9, 10**9, 4_096)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(SternaError, match=r"out\.gguf needs \d+\.\d MB, and 4\.1 kB are free on its disk\."):
        convert(EMBEDDED_MODEL, tmp_path / "out.gguf")
