"""Where documents come from beside text files: JSONL, Parquet, and data sets of the Hugging Face hub in streaming."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sterna.errors import ArgumentError, UnsupportedError, reason, warn
from sterna.files.parquet import parquet_rows
from sterna.files.text import whole_characters

LONGEST_LINE = 1 << 28
"""Bytes. A line of JSONL is parsed as a whole, so a longer one is refused before it fills the memory."""
HUB = "hf:"
_BETWEEN = re.compile(r"[\s,]*")
"""What separates the entries of a JSON list."""

Read = Callable[[int], None]
"""Receives how many bytes of a file have been read."""


@dataclass(frozen=True)
class Rows:
    """A source whose rows are documents: the text `field` of each."""

    name: str
    """As the config has it."""
    path: Path
    """The file; of a data set, what follows `hf:`."""
    field: str = "text"

    @property
    def is_data_set(self) -> bool:
        """Whether this is a data set of the hub, and no file."""
        return self.name.startswith(HUB)

    @property
    def size(self) -> int:
        """The file's size in bytes; 0 for a data set."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def texts(self, read: Read = lambda size: None) -> Iterator[str]:
        """The documents that are not empty. Raises ArgumentError for what cannot be read and for rows without such a
        text, UnsupportedError where the package that reads them is missing."""
        for number, row in enumerate(self.rows(read, [self.field]), 1):
            value = row.get(self.field)
            if not isinstance(value, str):
                raise ArgumentError(
                    f"Row {number} of {self.name} has no text called {self.field!r}; name another field: "
                    f"{self.name.partition('#')[0]}#FIELD."
                )
            if value:
                yield whole_characters(value)

    def rows(self, read: Read = lambda size: None, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """The rows; of a Parquet file, only their `columns` that the file has, if any are given. A row that is no
        mapping counts as one without entries. Raises as `texts` does."""
        if self.is_data_set:
            return self._of_data_set()
        if _kind(self.path) == "parquet":
            return parquet_rows(self.path, columns, read)
        return self._of_json() if _kind(self.path) == "json" else self._of_jsonl(read)

    def _of_json(self) -> Iterator[dict[str, Any]]:
        """The entries of a JSON list. A list that was cut off, as published data sets are, ends with its last whole
        entry, with a warning."""
        decoder = json.JSONDecoder()
        try:
            text = self.path.read_text(encoding="utf-8-sig").lstrip()
            if not text.startswith("["):
                raise ValueError("it is no list")
            at = 1
            while not text.startswith("]", at := _end(_BETWEEN, text, at)):
                try:
                    row, at = decoder.raw_decode(text, at)
                except ValueError:
                    warn(f"{self.path} is broken after {at:,} characters; what follows is left out.")
                    return
                yield row if isinstance(row, dict) else {}
        except (OSError, ValueError, RecursionError) as error:
            raise ArgumentError(f"Cannot read the JSON file {self.path}: {reason(error)}.") from error

    def _of_jsonl(self, read: Read) -> Iterator[dict[str, Any]]:
        number = 0
        try:
            with open(self.path, "rb") as file:
                while line := file.readline(LONGEST_LINE):
                    number += 1
                    if len(line) == LONGEST_LINE:
                        raise ValueError(f"it has more than {LONGEST_LINE:,} bytes")
                    if line.strip():
                        row = json.loads(line.decode("utf-8-sig"))
                        yield row if isinstance(row, dict) else {}
                    read(file.tell())
        except (ValueError, RecursionError) as error:
            what = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
            raise ArgumentError(f"Cannot read line {number} of the JSONL file {self.path}: {what}.") from error
        except OSError as error:
            raise ArgumentError(f"Cannot read the JSONL file {self.path}: {reason(error)}.") from error

    def _of_data_set(self) -> Iterator[dict[str, Any]]:
        try:
            from datasets import load_dataset
        except ModuleNotFoundError:
            raise UnsupportedError(
                f"Reading {self.name} needs datasets: pip install 'sterna[train,datasets]'."
            ) from None
        name, _, split = str(self.path).partition(":")
        try:
            yield from load_dataset(name, split=split or "train", streaming=True)
        except Exception as error:  # datasets lets through what its many readers and the network raise
            what = " ".join(str(error).split()).rstrip(".")
            raise ArgumentError(f"Cannot read the data set {self.name}: {what}.") from error


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where a pattern that matches everywhere ends."""
    found = pattern.match(text, at)
    assert found is not None
    return found.end()


def source(base: Path, name: str) -> Path | Rows:
    """What `name` in a config stands for: a text file, or rows: `FILE.jsonl`, `FILE.parquet`, `hf:NAME` or
    `hf:NAME:SPLIT` (split `train` by default), each of which may end in `#FIELD`. Paths are relative to `base`; a data
    set's name is that of the hub, or the absolute path of a folder."""
    plain, _, field = name.partition("#")
    if plain.startswith(HUB):
        return Rows(name, Path(plain.removeprefix(HUB)), field or "text")
    if _kind(Path(plain)) in ("jsonl", "ndjson", "parquet"):
        return Rows(name, base / plain, field or "text")
    return base / name


def _kind(path: Path) -> str:
    return path.suffix.lower().removeprefix(".")
