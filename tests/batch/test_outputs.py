"""The files of a job after a kill: whatever is left, the next run ends with the same bytes."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.batch import outputs as module
from sterna.batch.lines import Entry, RawLine, entries
from sterna.batch.outcome import Outcome, batch_id
from sterna.batch.outputs import Outputs
from sterna.errors import ArgumentError

LINES = 40


def lines(changed: int | None = None, count: int = LINES) -> Iterator[Entry]:
    data = (b'{"prompt":"changed"}' if n == changed else b'{"prompt":"%d"}' % n for n in range(count))
    return entries((RawLine(n, each) for n, each in enumerate(data, 1)), "job")


def outcome(entry: Entry) -> Outcome:
    number = entry.raw.number
    return Outcome(entry.key, f'{{"id":"{batch_id(entry.key)}","n":{number}}}'.encode(), failed=number % 3 == 0)


def run(folder: Path, order: random.Random, stop: int | None = None, given: Iterator[Entry] | None = None) -> Outputs:
    """Adds outcomes in a random order, up to `stop` of them."""
    files = Outputs(folder / "out", folder / "errors")
    pending = list(files.pending(given or lines()))
    order.shuffle(pending)
    for entry in pending[:stop]:
        files.add(outcome(entry))
    return files


def result(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("unbroken")
    files = run(folder, random.Random(0))
    assert files.finish() == (27, 13)
    files.close()
    found = result(folder)
    assert set(found) == {"out", "errors"}
    assert [b'"n":%d}' % n in line for line, n in zip(found["errors"].splitlines(), range(3, 41, 3), strict=True)]
    return found


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), group=st.integers(1, 9), journal=st.sampled_from([1, 500, 1 << 20]))
def test_whatever_a_kill_leaves_the_next_runs_end_with_the_same_bytes(
    seed: int, group: int, journal: int, tmp_path_factory: pytest.TempPathFactory, expected: dict[str, bytes]
) -> None:
    order, folder = random.Random(seed), tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "GROUP", group)
        patch.setattr(os, "fsync", lambda file: None)
        patch.setattr(module, "JOURNAL_BYTES", journal)
        for _ in range(order.randrange(4)):
            files = run(folder, order, stop=order.randrange(LINES))
            left = tmp_path_factory.mktemp("left")
            shutil.copytree(folder, left, dirs_exist_ok=True)  # as the files are without what is still in buffers
            tear(left, order)
            del files
            folder = left
        files = run(folder, order)
        files.finish()
        files.close()
    assert result(folder) == expected


def tear(folder: Path, order: random.Random) -> None:
    """Cuts the files where the system may have stopped: the journal in the entry that was being written, the others
    anywhere in what the journal has."""
    with open(folder / "out.journal", "ab") as file:
        file.write(order.choice([b"", b"0 ", b"1 0123456789abcdef", b"0 0123456789abcdef0123456789abcdef {"]))
    journal = (folder / "out.journal").read_bytes()
    for name in ("out", "errors"):
        data = (folder / name).read_bytes()
        known = [line in journal for line in data.splitlines()]
        kept = len(data) - sum(len(line) + 1 for line, here in zip(data.splitlines(), known, strict=True) if here)
        (folder / name).write_bytes(data[: order.randint(min(kept, len(data)), len(data))])


@pytest.mark.parametrize("given", [lines(changed=0), lines(changed=5), lines(count=30)])
def test_answers_of_another_job_are_left_alone(
    given: Iterator[Entry], tmp_path: Path, expected: dict[str, bytes]
) -> None:
    for name, data in expected.items():
        (tmp_path / name).write_bytes(data)
    files = Outputs(tmp_path / "out", tmp_path / "errors")
    with pytest.raises(ArgumentError, match="has answers of another job: the input was changed"):
        list(files.pending(given))
    files.close()
    assert result(tmp_path) == expected


@pytest.mark.parametrize("data", [b"hello", b"hello\n", b"{}\n", b'{"id": 3}\n{"id"'])
def test_a_file_that_is_no_output_is_left_alone(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(data)
    files = Outputs(tmp_path / "out", tmp_path / "errors")
    with pytest.raises(ArgumentError, match="has answers of another job"):
        list(files.pending(lines()))
    files.close()
    assert result(tmp_path) == {"out": data}


def test_an_input_that_has_grown_is_gone_on_with(tmp_path: Path, expected: dict[str, bytes]) -> None:
    files = run(tmp_path, random.Random(0), given=lines(count=30))
    files.finish()
    files.close()
    files = run(tmp_path, random.Random(0))
    files.finish()
    files.close()
    assert result(tmp_path) == expected


def test_two_runs_do_not_write_the_same_output(tmp_path: Path) -> None:
    files = Outputs(tmp_path / "out", tmp_path / "errors")
    with pytest.raises(ArgumentError, match="Another run is writing"):
        Outputs(tmp_path / "out", tmp_path / "errors")
    files.close()
    assert result(tmp_path) == {}
