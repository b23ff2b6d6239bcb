"""`sterna serve --files`, killed in the middle of a batch."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openai import OpenAI

from sterna.batch import run
from tests.batch.jobs import mixed_lines, write_lines

LINES = 300


@contextmanager
def serving(folder: Path) -> Iterator[tuple[OpenAI, subprocess.Popen[str]]]:
    """A client of a server in a process of its own, which is killed at the end."""
    command = [sys.executable, "-m", "sterna", "serve", "--port", "0", "--files", str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    try:
        assert process.stderr is not None
        address = next(line.split()[-1] for line in process.stderr if line.startswith("Serving at "))
        yield OpenAI(base_url=f"{address}/v1", api_key="none"), process
    finally:
        process.kill()
        process.communicate()


def test_a_killed_server_goes_on_with_its_batch(tmp_path: Path) -> None:
    lines = write_lines(tmp_path / "in.jsonl", mixed_lines(LINES))
    with serving(tmp_path / "files") as (client, _):
        file = client.files.create(file=lines.open("rb"), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint="/v1/completions", completion_window="24h")
        outcomes = 0
        while not outcomes:
            time.sleep(0.05)
            outcomes = (batch := client.batches.retrieve(batch.id)).request_counts.completed  # type: ignore[union-attr]
    assert 0 < outcomes
    with serving(tmp_path / "files") as (client, _):
        while (batch := client.batches.retrieve(batch.id)).status != "completed":
            assert batch.status in ("validating", "in_progress", "finalizing")
            time.sleep(0.05)
        made = [client.files.content(id).content for id in (batch.output_file_id, batch.error_file_id) if id]
    run(lines, tmp_path / "out.jsonl")
    assert made == [(tmp_path / name).read_bytes() for name in ("out.jsonl", "out.jsonl.errors.jsonl")]
