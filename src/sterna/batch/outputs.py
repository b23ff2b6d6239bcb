"""The files of a job, which survive a kill at any moment.

The output and the error file hold outcomes in the order of the lines. An outcome is first written to the journal, in
the order in which outcomes come, and is on disk there before it is written to its file. So after a kill every outcome
is in its file or in the journal, and whatever the files have beyond the first gap is in the journal, too.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from sterna.batch.lines import Entry
from sterna.batch.outcome import Outcome, batch_id
from sterna.errors import ArgumentError
from sterna.files.atomic import atomic_write
from sterna.files.locks import lock

GROUP = 256
"""Outcomes that reach the disk together..."""
SECONDS = 1.0
"""...or as many as come in this time."""
JOURNAL_BYTES = 8 << 20
"""A journal of this size is made anew with what still waits."""


class Outputs:
    """The output, the error file and the journal of one job."""

    def __init__(self, output: Path, errors: Path) -> None:
        """Opens or makes the files. Raises ArgumentError where another run has them open, OSError."""
        self._output, self._errors = _Ordered(output), _Ordered(errors)
        if not self._output.lock():
            raise ArgumentError(f"Another run is writing {output}; wait for it, or give another output.")
        self._journal_path = output.with_name(f"{output.name}.journal")
        self._waiting: dict[str, Outcome] = {}
        """By key: outcomes that a file does not have yet."""
        self._turns: deque[str] = deque()
        """Keys of the lines that no file has yet, in their order."""
        self._group: list[Outcome] = []
        self._due = time.monotonic() + SECONDS
        self._finished = False
        self.failed = 0
        """Lines with errors, as far as the lines were read and have outcomes."""
        had_journal = self._journal_path.exists()
        self._journal = open(self._journal_path, "a+b")
        self._journaled = _read_journal(self._journal)
        if had_journal:  # otherwise nobody was killed while writing
            self._output.drop_torn_line()
            self._errors.drop_torn_line()

    def pending(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """The lines that have no outcome yet. `add` takes those of the lines that were given out.

        Raises ArgumentError where the files hold outcomes of other lines.
        """
        rest = iter(entries)
        first = next((each for each in rest if not (self._output.skip(each.key) or self._errors.skip(each.key))), None)
        self.failed = self._errors.count
        self._drop_gap(first)
        for entry in chain([first] if first else [], rest):
            self._turns.append(entry.key)
            known = self._journaled.pop(entry.key, None)
            if known is None:
                yield entry
            else:
                self._waiting[entry.key] = known
                self.failed += known.failed

    def add(self, outcome: Outcome) -> None:
        """Takes the outcome of a line."""
        self._waiting[outcome.key] = outcome
        self.failed += outcome.failed
        self._group.append(outcome)
        if len(self._group) >= GROUP or time.monotonic() >= self._due:
            self.sync()

    def sync(self) -> None:
        """Brings all outcomes to the disk, and those whose turn it is to their files."""
        self.save()
        while self._turns and (ready := self._waiting.pop(self._turns[0], None)) is not None:
            self._turns.popleft()
            (self._errors if ready.failed else self._output).append(ready.data)
        if self._journal.tell() > JOURNAL_BYTES:
            self._shorten_journal()
        self._due = time.monotonic() + SECONDS

    def save(self) -> None:
        """Brings all outcomes to the disk. This alone may be called after an interruption of any other method."""
        if self._group:
            for outcome in self._group:
                self._journal.write(_entry(outcome))
            _to_disk(self._journal)
            self._group = []

    def finish(self) -> tuple[int, int]:
        """Brings everything to the files and removes the journal; returns how many lines the output and the error file
        have."""
        self.sync()
        assert not self._turns and not self._waiting
        self._output.to_disk()
        self._errors.to_disk()
        self._journal.close()
        self._journal_path.unlink()
        self._finished = True
        return self._output.count, self._errors.count

    def close(self) -> None:
        """Closes the files. Those that are empty are removed, but for the output of a job that is finished."""
        for file in (self._output, self._errors):
            file.close(keep=self._finished and file is self._output)
        self._journal.close()
        if not self._finished and self._journal_path.stat().st_size == 0:
            self._journal_path.unlink()

    def _drop_gap(self, first: Entry | None) -> None:
        """Cuts off what the files have beyond the first line that neither has; it is in the journal. Where it is not,
        the files are those of another job: an error."""
        beyond = [*self._output.rest(), *self._errors.rest()]
        known = {batch_id(key) for key in self._journaled}
        if not all(name in known for name in beyond):
            where = "beyond its end" if first is None else f"at line {first.raw.number}"
            raise other_job(self._output.path, f"changed {where}")
        self._output.cut()
        self._errors.cut()

    def _shorten_journal(self) -> None:
        """Writes the journal anew with the outcomes that wait for an earlier one; the others are in their files."""
        self._output.to_disk()
        self._errors.to_disk()
        try:
            with atomic_write(self._journal_path) as file:
                for outcome in (*self._waiting.values(), *self._journaled.values()):
                    file.write(_entry(outcome))
                self._journal.close()  # Windows replaces no file that is open.
        finally:
            self._journal.close()
            self._journal = open(self._journal_path, "a+b")


def other_job(output: Path, change: str = "changed") -> ArgumentError:
    """The error for an output that has answers of another job. `change`: what may have happened to the input."""
    return ArgumentError(
        f"{output} has answers of another job: the input was {change}, or the model, the seed or an option is another. "
        "Give another output, or remove this one and its errors."
    )


class _Ordered:
    """A file of outcomes in the order of the lines. It appears with its first outcome."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0
        self._file = open(path, "a+b")
        self._file.seek(0)
        self._end = 0
        """Where the outcomes that were skipped end."""
        self._head: tuple[str, int] | None = None
        """The id of the next outcome, and its bytes."""

    def lock(self) -> bool:
        """Whether no other process has locked the file; it is locked until it is closed."""
        return lock(self._file) is not False

    def drop_torn_line(self) -> None:
        """Cuts off what follows the last end of a line."""
        end = self._file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - (1 << 16))
            self._file.seek(start)
            found = self._file.read(end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        self._file.truncate(end)
        self._file.seek(0)

    def skip(self, key: str) -> bool:
        """Whether the next outcome of the file is that of the line with this key; if so, goes on to the one after."""
        head = self._next()
        if head is None or head[0] != batch_id(key):
            return False
        self._end, self._head = self._end + head[1], None
        self.count += 1
        return True

    def rest(self) -> Iterator[str]:
        """The ids of the outcomes that were not skipped."""
        while (head := self._next()) is not None:
            self._head = None
            yield head[0]

    def cut(self) -> None:
        """Cuts off what was not skipped."""
        self._file.truncate(self._end)

    def append(self, data: bytes) -> None:
        """Adds an outcome."""
        self._file.write(data + b"\n")
        self.count += 1

    def to_disk(self) -> None:
        _to_disk(self._file)

    def close(self, keep: bool) -> None:
        """Closes the file, and removes it if it is empty, unless `keep`."""
        self._file.close()
        if not keep and self.path.stat().st_size == 0:
            self.path.unlink()

    def _next(self) -> tuple[str, int] | None:
        if self._head is None and (data := self._file.readline()):
            self._head = (_id_of(data), len(data))
        return self._head


def _id_of(data: bytes) -> str:
    """The id of an outcome; empty for what is none."""
    try:
        fields = json.loads(data)
        return str(fields["request_id"] if "request_id" in fields else fields["id"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _entry(outcome: Outcome) -> bytes:
    """An entry of the journal."""
    return b"%d %s " % (outcome.failed, outcome.key.encode()) + outcome.data + b"\n"


_ENTRY = re.compile(rb"([01]) ([0-9a-f]{32}) (.*)\n")


def _read_journal(file: BinaryIO) -> dict[str, Outcome]:
    """The outcomes of a journal by their keys. A torn last entry is cut off."""
    outcomes: dict[str, Outcome] = {}
    file.seek(0)
    end = 0
    for entry in file:
        found = _ENTRY.fullmatch(entry)
        if found is None:
            break
        key = found[2].decode()
        outcomes[key] = Outcome(key, found[3], failed=found[1] == b"1")
        end += len(entry)
    file.truncate(end)
    file.seek(0, os.SEEK_END)
    return outcomes


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
