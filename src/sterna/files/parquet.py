"""The rows of Parquet files, read by pyarrow, which is loaded only for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sterna.errors import ArgumentError, UnsupportedError, reason

BATCH_ROWS = 64


def parquet_rows(
    path: Path, columns: Sequence[str] | None = None, read: Callable[[int], None] = lambda size: None
) -> Iterator[dict[str, Any]]:
    """The rows of a file; only those of `columns` that it has, if any are given. `read` receives how many of the file's
    bytes have been read, about. Raises ArgumentError for what cannot be read, UnsupportedError without pyarrow."""
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ModuleNotFoundError:
        raise UnsupportedError(f"Reading {path} needs pyarrow: pip install 'sterna[parquet]'.") from None
    try:
        size = path.stat().st_size
        with ParquetFile(path) as file:
            names = file.schema_arrow.names
            wanted = names if columns is None else [name for name in columns if name in names]
            rows = 0
            for batch in file.iter_batches(BATCH_ROWS, columns=wanted):
                yield from batch.to_pylist()
                rows += len(batch)
                read(size * rows // max(file.metadata.num_rows, 1))
    except (OSError, ValueError, KeyError, pyarrow.ArrowException) as error:
        raise ArgumentError(f"Cannot read the Parquet file {path}: {reason(error)}.") from error
