"""Finds the files of tasks and reads their lines."""

from __future__ import annotations

import csv
import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from sterna.errors import FormatError, NotFoundError
from sterna.evaluate.sets import SETS
from sterna.evaluate.tasks import LETTERS
from sterna.files.hub.cache import cache_folder
from sterna.files.regular import open_regular

ALIASES = {"openbookqa": "openbook_qa", "wsc273": "winograd_wsc"}
"""lm-eval's names of tasks whose files have others."""
LARGEST_LINE = 1 << 22
"""Bytes of a line of JSON."""
LARGEST_ZIP_ENTRY = 1 << 26
"""Bytes of one of an archive's files, unpacked."""
ENCRYPTED = 1
"""The flag of an encrypted entry in a ZIP archive (PKWARE's APPNOTE, section 4.4.4)."""


def data_folder(given: str | os.PathLike[str] | None) -> Path:
    """Where the files of tasks lie: the given folder, else `eval` in the folder of downloaded models."""
    return Path(given) if given is not None else cache_folder() / "eval"


def find_tasks(names: str, folder: Path) -> list[tuple[str, Path]]:
    """The tasks that `--tasks` names, and their files: names with commas between, a file, or a folder of files.

    Raises `NotFoundError` for a name that has no file, an empty one included.
    """
    found: list[tuple[str, Path]] = []
    for name in names.split(","):
        path = Path(name)
        if name and path.is_dir():
            files = sorted(path.glob("*.jsonl"))
            if not files:
                raise NotFoundError(f"The folder {path} has no tasks: files that end in .jsonl.")
            found += [(file.stem, file) for file in files]
        elif path.is_file():
            found.append((path.stem, path))
        else:
            found.append((name, _file_of(name, folder)))
    return found


def _file_of(name: str, folder: Path) -> Path:
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise NotFoundError(f"There is no file of tasks '{name}'.")
    for stem in (name, ALIASES.get(name, name)):
        for path in (folder / f"{stem}.jsonl", folder / f"{stem}.zip"):
            if path.is_file():
                return path
    ways = "put it there, or name a folder by --data"
    if name in SETS:
        ways = f"bring it by `sterna eval --fetch {name}`, or name a folder by --data"
    raise NotFoundError(f"The task {name} has no file {name}.jsonl in {folder}; {ways}.")


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a task: JSON objects, or the test questions of MMLU's archive. Raises `FormatError` for others."""
    if path.suffix == ".zip":
        yield from _mmlu(path)
        return
    with open_regular(path) as file:
        number = 0
        while line := file.readline(LARGEST_LINE + 1):
            number += 1
            if len(line) > LARGEST_LINE:
                raise FormatError(f"{path}: line {number} is longer than {LARGEST_LINE >> 20} MiB.")
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = None
            if not isinstance(value, dict):
                raise FormatError(f"{path}: line {number} is no JSON object.")
            yield value


def _mmlu(path: Path) -> Iterator[dict[str, Any]]:
    """The questions of the archive's files `test/*_test.csv`, whose rows are question, four choices and letter. Raises
    `FormatError` for what is no such archive, and for entries that are encrypted, not stored or deflated, or larger
    than `LARGEST_ZIP_ENTRY` bytes."""
    try:
        with zipfile.ZipFile(path) as archive:
            for info in sorted(archive.infolist(), key=lambda info: info.filename):
                name = PurePosixPath(info.filename)
                if name.parent.name != "test" or name.suffix != ".csv":
                    continue
                if info.file_size > LARGEST_ZIP_ENTRY:
                    raise FormatError(f"{path}: {info.filename} is too large for a file of questions.")
                if info.flag_bits & ENCRYPTED or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise FormatError(
                        f"{path} is no archive of questions: {info.filename} is encrypted, or compressed by another "
                        "method than deflate."
                    )
                for row in csv.reader(io.StringIO(archive.read(info).decode())):
                    if len(row) != 6:
                        raise FormatError(f"{path}: {info.filename} has a row of {len(row)} entries and not 6.")
                    entries = zip(("question", *LETTERS, "letter"), row, strict=True)
                    yield {**dict(entries), "subject": name.stem.removesuffix("_test")}
    except (zipfile.BadZipFile, zlib.error, EOFError, UnicodeDecodeError, csv.Error, NotImplementedError) as error:
        # zipfile raises NotImplementedError for features of the format that it does not have, such as patched data.
        raise FormatError(f"{path} is no archive of questions: {error}.") from None
