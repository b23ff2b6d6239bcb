"""Where lines come from: a file of JSON lines, standard input, or a Parquet table."""

from __future__ import annotations

import io
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sterna.batch.lines import RawLine
from sterna.batch.parquet import is_parquet, parquet_rows
from sterna.errors import ArgumentError, NotFoundError

MOST_BYTES = 16 << 20
"""The longest line that is read."""
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Source:
    """The input of a job."""

    lines: Iterator[RawLine]
    size: int | None
    """Bytes, or rows of a table; None where nobody knows."""
    in_rows: bool = False

    def weight(self, raw: RawLine) -> int:
        """How much of `size` a line is."""
        return 1 if self.in_rows else len(raw.data) + 1


def open_source(src: str | os.PathLike[str]) -> Source:
    """The lines of a file, or of standard input for `-`. Raises NotFoundError, ArgumentError for a folder, and as
    `parquet_rows`."""
    if os.fspath(src) == "-":
        if sys.stdin is None:
            raise NotFoundError("Standard input cannot be read: it is closed.")
        return Source(json_lines(sys.stdin.buffer), None)
    path = Path(src)
    if is_parquet(path):
        count, rows = parquet_rows(path)
        return Source(_row_lines(rows), count, in_rows=True)
    if path.is_dir():
        raise ArgumentError(f"{path} is a folder; a prompt for its documents makes lines of them (--map FILE).")
    try:
        file = open(path, "rb")
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}.") from None
    size = os.fstat(file.fileno()).st_size
    return Source(json_lines(file), size or None)


def json_lines(file: BinaryIO | io.BufferedIOBase) -> Iterator[RawLine]:
    """The lines that are not blank. A line of more than `MOST_BYTES` has a flaw, and only its beginning."""
    number = 0
    while data := file.readline(MOST_BYTES + 2):
        number += 1
        whole, data = data.endswith(b"\n"), data.strip()
        if number == 1:
            data = data.removeprefix(BOM)
        if len(data) > MOST_BYTES:
            yield RawLine(number, data[:80], f"The line has more than {MOST_BYTES} bytes.")
        elif data:
            yield RawLine(number, data)
        while not whole and (more := file.readline(MOST_BYTES)):
            whole = more.endswith(b"\n")


def _row_lines(rows: Iterator[dict[str, Any]]) -> Iterator[RawLine]:
    for number, row in enumerate(rows, 1):
        yield RawLine(number, row_json(row))


def row_json(row: Mapping[str, Any]) -> bytes:
    """A row of a table as JSON."""
    return json.dumps(_plain(dict(row)), ensure_ascii=False).encode("utf-8", "replace")


def _plain(value: Any) -> Any:
    """A value of a table as JSON has it: null for what is no number, text for dates, decimals and bytes."""
    match value:
        case dict():
            return {str(name): _plain(part) for name, part in value.items()}
        case list() | tuple():
            return [_plain(part) for part in value]
        case float():
            return value if math.isfinite(value) else None
        case None | bool() | int() | str():
            return value
        case bytes():
            return value.decode("utf-8", "replace")
    return _plain(value.tolist()) if hasattr(value, "tolist") else str(value)  # numpy's values, too
