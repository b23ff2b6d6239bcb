"""An output that is a Parquet table: the job writes JSON lines beside it, and the table appears when all are there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sterna.batch.parquet import write_parquet

JOB, FAILED = "sterna.job", "sterna.failed"
"""Keys of a table's metadata: what it is the output of, and how many lines are in the error file."""


def lines_of(table: Path) -> Path:
    """The JSON lines from which a table will be made."""
    return table.with_name(f"{table.name}.jsonl")


def publish_table(table: Path, job: str, failed: int) -> None:
    """Makes the table of its lines, and removes those. Of a line in OpenAI's form the table has the reply as JSON text.
    Raises as `write_parquet`."""

    def rows() -> Iterator[dict[str, Any]]:
        with open(lines_of(table), "rb") as file:
            for line in file:
                row = json.loads(line)
                if "request_id" not in row:
                    row = {"id": row["id"], "custom_id": row["custom_id"], "response": json.dumps(row["response"])}
                yield row

    write_parquet(table, rows, {JOB: job, FAILED: str(failed)})
    lines_of(table).unlink()
