"""Parquet tables in and out."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from sterna.batch import run
from sterna.batch.parquet import write_parquet
from sterna.errors import ArgumentError
from tests.batch.jobs import mixed_lines, openai_line, read_lines, write_lines

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

ROWS: list[dict[str, Any]] = [
    {"prompt": "The ship", "max_tokens": 3, "day": datetime.date(2026, 1, 2), "score": float("nan"), "note": None},
    {"prompt": None, "max_tokens": 3, "day": None, "score": 1.5, "note": "no prompt"},
    {"prompt": "A house", "max_tokens": None, "day": None, "score": None, "note": "x"},
]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


def test_rows_of_a_table_are_lines(table: Path, tmp_path: Path) -> None:
    report = run(table, tmp_path / "out.jsonl")
    assert (report.done, report.failed, report.share) == (3, 1, 1.0)
    first, last = read_lines(tmp_path / "out.jsonl")
    assert first["day"] == "2026-01-02" and first["score"] is None and first["completion_tokens"] == 3
    assert last["note"] == "x" and last["max_tokens"] is None


def test_a_table_appears_at_the_end_and_is_known_again(table: Path, tmp_path: Path) -> None:
    for _ in range(2):
        report = run(table, tmp_path / "out.parquet")
        assert (report.done, report.failed) == (3, 1)
    found = pq.read_table(tmp_path / "out.parquet").to_pylist()
    run(table, tmp_path / "out.jsonl")
    assert found == read_lines(tmp_path / "out.jsonl")
    assert {path.name for path in tmp_path.glob("out.parquet*")} == {"out.parquet", "out.parquet.errors.jsonl"}
    with pytest.raises(ArgumentError, match="has answers of another job"):
        run(table, tmp_path / "out.parquet", seed=1)
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "foreign.parquet")
    with pytest.raises(ArgumentError, match="has answers of another job"):
        run(table, tmp_path / "foreign.parquet")


def test_messages_and_lines_of_openai_may_be_columns(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    lines = [openai_line("a", "completions", prompt="a", max_tokens=2), {"messages": messages, "max_tokens": 2}]
    rows = [{**lines[0], "body": json.dumps(lines[0]["body"])}, {"custom_id": None, "url": None, **lines[1]}]
    columns = {name: [row.get(name) for row in rows] for name in {**rows[0], **rows[1]}}
    pq.write_table(pa.Table.from_pydict(columns), tmp_path / "in.parquet")
    assert run(tmp_path / "in.parquet", tmp_path / "out.parquet").failed == 0
    first, second = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert json.loads(first["response"])["body"]["usage"]["completion_tokens"] == 2 and first["custom_id"] == "a"
    assert second["messages"] == messages and second["completion_tokens"] == 2


def test_lines_of_every_kind_fit_into_one_table(tmp_path: Path) -> None:
    run(write_lines(tmp_path / "in", mixed_lines(20)), tmp_path / "out.parquet")
    assert pq.read_metadata(tmp_path / "out.parquet").num_rows == 18


def test_a_column_without_a_common_type_is_text(tmp_path: Path) -> None:
    rows = [{"a": 1, "b": [1]}, {"a": "x", "b": None}, {"a": None, "c": True}, {"a": {"d": 1}}]
    write_parquet(tmp_path / "t.parquet", lambda: iter(rows))
    found = pq.read_table(tmp_path / "t.parquet").to_pylist()
    assert [row["a"] for row in found] == ["1", '"x"', None, '{"d": 1}']
    assert [row["b"] for row in found] == [[1], None, None, None] and found[2]["c"] is True
