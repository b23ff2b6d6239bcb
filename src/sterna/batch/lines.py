"""The lines of a job: what each asks, in the form of OpenAI's batch files or as a plain row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NoReturn

from sterna.errors import listed, shown
from sterna.server.errors import ApiError

URLS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")


@dataclass(frozen=True)
class RawLine:
    """A line of the input."""

    number: int
    """From 1."""
    data: bytes
    """JSON, without the end of the line."""
    flaw: str | None = None
    """Why the line cannot be read, as a sentence."""


@dataclass(frozen=True)
class Line:
    """What a line asks."""

    url: str
    body: dict[str, Any]
    """The fields of a request."""
    row: dict[str, Any] | None = None
    """What the output repeats of a plain row: all of it, or the field `row`; None for a line of OpenAI's form."""
    custom_id: str | None = None

    @property
    def prefix(self) -> str:
        """A text with which lines begin alike if their prompts do."""
        asked = [self.body.get(name) for name in ("instructions", "messages", "prompt", "input")]
        return f"{self.url} {[part for part in asked if part is not None]}"


def parse_line(raw: RawLine) -> Line:
    """Reads a line: `{"custom_id", "method", "url", "body"}` as in OpenAI's batch files; a row with a `prompt` (text or
    token ids) or `messages`, whose other fields may be options of the request; or `{"row", "url", "body"}`, for a row
    whose prompt the output does not repeat.

    Raises `ApiError` for a line that is neither.
    """
    if raw.flaw is not None:
        raise ApiError(400, raw.flaw, code="invalid_line")
    fields = _object(raw.data, "The line")
    given = {name for name, value in fields.items() if value is not None}
    if given & {"url", "body"}:
        return _openai_line(fields)
    for name, url in (("messages", "/v1/chat/completions"), ("prompt", "/v1/completions")):
        if name in given:
            return Line(url, fields, row=fields)
    raise ApiError(400, "A line has a url and a body, or messages, or a prompt.", code="invalid_line")


def _openai_line(fields: dict[str, Any]) -> Line:
    custom_id, url, body, row = (fields.get(name) for name in ("custom_id", "url", "body", "row"))
    if row is not None and not isinstance(row, dict):
        raise ApiError(400, "The field row is no JSON object.", param="row")
    if row is None and (not isinstance(custom_id, str) or not custom_id):
        raise ApiError(400, "The field custom_id is a text that no other line has.", param="custom_id")
    if fields.get("method") not in (None, "POST"):
        raise ApiError(400, f"The method is POST, not {shown(fields['method'])}.", param="method")
    if url not in URLS:
        raise ApiError(400, f"The url is one of {listed(URLS)}, not {shown(url)}.", param="url", code="invalid_url")
    if isinstance(body, str):  # as a column of a table may have it
        body = _object(body.encode("utf-8", "replace"), "The field body")
    if not isinstance(body, dict):
        raise ApiError(400, "The field body is no JSON object.", param="body")
    return Line(url, body, row) if row is not None else Line(url, body, custom_id=custom_id)


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise ApiError(400, f"{what} is no valid JSON in UTF-8.", code="invalid_json_line") from None
    if not isinstance(value, dict):
        raise ApiError(400, f"{what} is no JSON object.", code="invalid_json_line")
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON.")


@dataclass(frozen=True)
class Entry:
    """A line of a job: what it asks, or why it asks nothing."""

    raw: RawLine
    key: str
    """Thirty-two hexadecimal digits. Two lines have the same key only if they are equal, have the same number, and
    belong to jobs with the same `job` text."""
    line: Line | None
    error: ApiError | None = None

    @property
    def prefix(self) -> str:
        """A text with which lines begin alike if their prompts do; empty for a line that asks nothing."""
        return "" if self.line is None else self.line.prefix


def entries(lines: Iterable[RawLine], job: str) -> Iterator[Entry]:
    """Parses the lines of a job. `job`: a text of everything besides the lines that answers depend on."""
    salt = blake2b(job.encode()).digest()
    names: set[str] = set()
    for raw in lines:
        key = blake2b(b"%d " % raw.number + raw.data, digest_size=16, key=salt).hexdigest()
        try:
            line = parse_line(raw)
        except ApiError as error:
            yield Entry(raw, key, None, error)
            continue
        if line.custom_id in names:
            sentence = f"An earlier line has the custom_id {shown(line.custom_id)}."
            yield Entry(raw, key, line, ApiError(400, sentence, param="custom_id", code="duplicate_custom_id"))
            continue
        if line.custom_id is not None:
            names.add(line.custom_id)
        yield Entry(raw, key, line)


def seed_of(run_seed: int, raw: RawLine, line: Line) -> int:
    """The seed of a line that gives none: it depends on the run's seed and on the line's `custom_id`, or else its
    number."""
    name = raw.number if line.custom_id is None else line.custom_id
    return int.from_bytes(blake2b(f"{run_seed} {name}".encode("utf-8", "replace"), digest_size=6).digest(), "big")
