"""Parquet tables in and out, by pyarrow, an optional extra."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from sterna.errors import FormatError, NotFoundError, UnsupportedError
from sterna.files.atomic import atomic_write

ROWS = 4096
"""Rows that are in memory at a time."""


def is_parquet(path: Path) -> bool:
    """Whether a file is or will be a Parquet table, by its name."""
    return path.suffix.lower() in (".parquet", ".pq")


def parquet_rows(path: Path) -> tuple[int, Iterator[dict[str, Any]]]:
    """How many rows a table has, and the rows. Raises NotFoundError, FormatError, or UnsupportedError without
    pyarrow."""
    pa, pq = _pyarrow()
    if not path.is_file():
        raise NotFoundError(f"{path} cannot be read: there is no such file.")
    try:
        table = pq.ParquetFile(path)
    except pa.ArrowException as error:
        raise FormatError(f"{path} is no Parquet table: {_first_line(error)}") from None

    def rows() -> Iterator[dict[str, Any]]:
        try:
            for batch in table.iter_batches(batch_size=ROWS):
                yield from batch.to_pylist()
        except pa.ArrowException as error:
            raise FormatError(f"{path} is broken: {_first_line(error)}") from None

    return table.metadata.num_rows, rows()


def write_parquet(
    path: Path, rows: Callable[[], Iterator[dict[str, Any]]], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes a table atomically. `rows` is called twice: the first run over them finds a type for each column, the
    second writes. A column whose values have no common type holds JSON text. Raises OSError, or UnsupportedError
    without pyarrow."""
    pa, pq = _pyarrow()
    columns: dict[str, Any] = {}
    for part in _parts(rows()):
        for name in {name: None for row in part for name in row}:
            columns[name] = _common_type(pa, columns.get(name, pa.null()), [row.get(name) for row in part])
    texts = {name for name, kind in columns.items() if kind is None}
    schema = pa.schema([(name, kind or pa.string()) for name, kind in columns.items()], metadata=metadata)
    with atomic_write(path) as file, pq.ParquetWriter(file, schema) as writer:
        for part in _parts(rows()):
            told = [
                {name: _json(row.get(name)) if name in texts else row.get(name) for name in columns} for row in part
            ]
            writer.write_table(pa.Table.from_pylist(told, schema=schema))


def parquet_metadata(path: Path) -> dict[str, str]:
    """The metadata that `write_parquet` gave a table. Raises as `parquet_rows`."""
    pa, pq = _pyarrow()
    try:
        found = pq.read_schema(path).metadata or {}
    except pa.ArrowException as error:
        raise FormatError(f"{path} is no Parquet table: {_first_line(error)}") from None
    return {name.decode(errors="replace"): value.decode(errors="replace") for name, value in found.items()}


def _common_type(pa: Any, known: Any, values: list[Any]) -> Any:
    """A type for values and for those of a known type; None where there is none."""
    if known is None:
        return None
    try:
        fields = [pa.schema([("", known)]), pa.schema([("", pa.array(values).type)])]
        return pa.unify_schemas(fields, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return None


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _parts(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while part := list(islice(rows, ROWS)):
        yield part


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UnsupportedError("Parquet needs pyarrow: pip install 'sterna[parquet]'.") from None
    return pyarrow, pyarrow.parquet


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["unknown"])[0].rstrip(".") + "."
