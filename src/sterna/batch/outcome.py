"""What becomes of a line: a line of the output, or one of the error file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sterna.batch.lines import Entry, Line
from sterna.batch.work import Reply
from sterna.server.errors import ApiError
from sterna.server.json_text import json_bytes
from sterna.server.openai.errors import error_body


@dataclass(frozen=True)
class Outcome:
    """The end of a line. `data`: JSON, without the end of the line."""

    key: str
    data: bytes
    failed: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


def answered(line: Line, key: str, reply: Reply) -> Outcome:
    """The line of the output, in the form of OpenAI's batch files or as the row with what it gains."""
    told: dict[str, Any]
    if line.row is None:
        response = {"status_code": 200, "request_id": f"req_{key}", "body": reply.body}
        told = {"id": batch_id(key), "custom_id": line.custom_id, "response": response, "error": None}
    else:
        told = {**line.row, "request_id": batch_id(key), **reply.body}
    return Outcome(key, json_bytes(told), False, reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens)


def refused(entry: Entry, error: ApiError) -> Outcome:
    """The line of the error file for a line that was asked, or could not be."""
    line, key = entry.line, entry.key
    response = {"status_code": error.status, "request_id": f"req_{key}", "body": error_body(error)}
    return _failed(entry, error, response if line else None)


def unasked(entry: Entry, error: ApiError) -> Outcome:
    """The line of the error file for a line whose job ended before its turn."""
    return _failed(entry, error, None)


def _failed(entry: Entry, error: ApiError, response: dict[str, Any] | None) -> Outcome:
    code = error.code or ("invalid_request" if error.status < 500 else "server_error")
    told = {
        "id": batch_id(entry.key),
        "custom_id": entry.line.custom_id if entry.line else None,
        "response": response,
        "error": {"code": code, "message": error.message, "param": error.param, "line": entry.raw.number},
    }
    return Outcome(entry.key, json_bytes(told), failed=True)


def batch_id(key: str) -> str:
    """The id by which an output tells what it is the outcome of."""
    return f"batch_req_{key}"
