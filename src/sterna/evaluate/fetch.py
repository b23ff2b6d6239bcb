"""Brings the data set of a task from the Hugging Face hub, as a file of JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sterna.errors import ArgumentError, FormatError, NotFoundError
from sterna.evaluate.sets import set_of
from sterna.evaluate.tasks import item_of
from sterna.files.atomic import atomic_write
from sterna.files.hub.cache import cache_folder
from sterna.files.hub.download import Hub
from sterna.files.parquet import parquet_rows

PARQUET = "refs/convert/parquet"
"""The branch in which the hub keeps every public data set as Parquet files."""


@dataclass(frozen=True)
class Fetched:
    """The file of a task, how many items it has, and where they are from. `licence`: None where the set names none."""

    task: str
    path: str
    items: int
    repo: str
    commit: str
    licence: str | None


def fetch(task: str, folder: Path, progress: Callable[[float], None] = lambda share: None) -> Fetched:
    """Writes `TASK.jsonl` into the folder; what was there before is replaced once all rows have come.

    Files of the hub are kept in the cache, so that an interrupted call goes on with those that are missing. Raises
    NotFoundError for a task without a known set and for a set that the hub does not show, NetworkError where it does
    not answer, FormatError for rows of another form, UnsupportedError without pyarrow.
    """
    wanted = set_of(task)
    hub = Hub(cache_folder(), wanted.repo, kind="dataset")
    commit, files = hub.listing(PARQUET)
    parts = sorted(filter(wanted.is_part, files))
    if not parts:
        raise NotFoundError(f"The data set {wanted.repo} has no split {wanted.split} of {wanted.config or 'any part'}.")
    licence = hub.licence()
    path, items = folder / f"{task}.jsonl", 0
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        for done, part in enumerate(parts, 1):
            for row in _rows(hub.path_of(part, commit)):
                items += 1
                try:
                    line = wanted.line(row)
                    item_of(line)
                except (KeyError, ValueError, TypeError, IndexError, AttributeError, FormatError):
                    raise FormatError(
                        f"Row {items} of {wanted.repo} has another form than {task} is made of."
                    ) from None
                file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            progress(done / len(parts))
    return Fetched(task, str(path), items, wanted.repo, commit, licence)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        yield from parquet_rows(path)
    except ArgumentError as error:  # the file is the hub's, and no argument
        raise FormatError(str(error)) from error
