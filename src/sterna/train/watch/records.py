"""The records of a run: dictionaries of JSON values, each with its `kind` and the step after which it was made.

| kind | other entries |
|---|---|
| step | loss (mean since the last one, nats), norm, factor (on the learning rates), weight_decay, stage, tokens (so far), tokens_per_second, peak_share, seconds_left, terms (means by name, where the loss has several or a task records more) |
| stage | stage: its name; step is the last one before it |
| valid | bits_per_byte, or what else the task measures |
| weights | matrices: by name negative, zero, positive (shares), scale, flips (share since the last record; null in the first); over: the steps that the flips took |
| sample | prompt, text |
| skip | reason |
| checkpoint | seconds that writing took |

In `log.jsonl`, which is strict JSON, a number that is not finite is null.
"""  # noqa: E501

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sterna.errors import FormatError, NotFoundError, SternaError, reason
from sterna.files.atomic import atomic_write

Record = Mapping[str, Any]
Sink = Callable[[Record], None]
"""Receives the records of a run, one by one."""

RECORDS_FILE = "log.jsonl"


class Journal:
    """Writes records to `log.jsonl` in a run's folder, a JSON object a line.

    What an earlier run wrote about steps beyond `step`, from which this one goes on, is removed; for step 0 everything.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / RECORDS_FILE
        try:
            before = read_records(self._path) if step else []
        except SternaError:
            before = []
        with atomic_write(self._path) as file:
            file.write("".join(_line(record) for record in before if record["step"] <= step).encode())

    def __call__(self, record: Record) -> None:
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(_line(record))


def _line(record: Record) -> str:
    return json.dumps(_strict(record), ensure_ascii=False, allow_nan=False) + "\n"


def _strict(value: Any) -> Any:
    """A JSON value with null for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {name: _strict(entry) for name, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_records(path: str | os.PathLike[str]) -> list[Record]:
    """The records in a file. Lines that are none, such as one that a killed run left unfinished, are passed over.

    Raises NotFoundError for a file that cannot be read, FormatError for one that holds no record.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {reason(error)}.") from error
    records = [record for line in lines if (record := _record(line)) is not None]
    if not records:
        raise FormatError(f"{path} is no log of a training run: no line of it is a record.")
    return records


def _record(line: str) -> Record | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    known = isinstance(record, dict) and type(record.get("step")) is int and type(record.get("kind")) is str
    return record if known else None
