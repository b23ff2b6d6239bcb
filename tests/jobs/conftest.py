"""Servers with files and batches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from openai.types import Batch, FileObject

from sterna.jobs import Limits, jobs
from sterna.server.models import Models
from sterna.server.settings import Settings
from tests.server.conftest import Running, running


@contextmanager
def with_jobs(models: Models | None = None, settings: Settings | None = None, **limits: Any) -> Iterator[Running]:
    """A server whose files have these limits."""
    with running(models, settings, [jobs(Limits(**limits))]) as server:
        yield server


@pytest.fixture(scope="module")
def served() -> Iterator[Running]:
    """A server of the embedded model, which is loaded."""
    with with_jobs() as server:
        server.http.post("/v1/completions", json={"prompt": "a", "max_tokens": 1}).raise_for_status()
        yield server


def content_of(lines: list[Any]) -> bytes:
    """Lines as a file has them; bytes as they are."""
    return b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)


def upload(served: Running, lines: list[Any], name: str = "in.jsonl") -> FileObject:
    return served.openai.files.create(file=(name, content_of(lines)), purpose="batch")


def begin(served: Running, lines: list[Any], **more: Any) -> Batch:
    """A batch over lines."""
    file = upload(served, lines)
    return served.openai.batches.create(
        input_file_id=file.id, endpoint="/v1/completions", completion_window="24h", **more
    )


def ended(served: Running, batch: Batch) -> Batch:
    """The batch once it has ended."""
    final = ("completed", "failed", "expired", "cancelled")
    served.eventually(lambda: served.openai.batches.retrieve(batch.id).status in final, 60)
    return served.openai.batches.retrieve(batch.id)


def text_of(served: Running, id: str | None) -> bytes:
    """The content of a file; empty where there is none."""
    return b"" if id is None else served.openai.files.content(id).content
