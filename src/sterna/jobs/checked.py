"""The lines of a batch before it runs: how many there are, and which model they name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sterna.batch.lines import parse_line
from sterna.batch.source import open_source
from sterna.errors import shown
from sterna.server.errors import ApiError


@dataclass(frozen=True)
class Checked:
    """What the lines of a file say together."""

    total: int
    model: str


class BadBatch(Exception):
    """A batch fails before any of its lines runs."""

    def __init__(self, error: ApiError, line: int | None = None) -> None:
        super().__init__(error.message)
        self.error, self.line = error, line


def check_lines(path: Path, find: Callable[[str | None], str], stop: Callable[[], bool]) -> Checked:
    """Reads the lines of a file. `find` gives the name of the model that goes by a name, or of the one for lines that
    name none; it raises `ApiError`. `stop`: whether nobody needs the result any more.

    A line that cannot be read is no reason to fail: it will be in the error file. Raises `BadBatch` for a file without
    lines and for lines that name an unknown model or several models.
    """
    total, model = 0, None
    for raw in open_source(path).lines:
        if stop():
            break
        total += 1
        try:
            asked = parse_line(raw).body.get("model")
        except ApiError:
            continue
        if not isinstance(asked, str):
            continue
        try:
            named = find(asked)
        except ApiError as error:
            raise BadBatch(error, raw.number) from None
        if model is None:
            model = named
        elif model != named:
            sentence = (
                f"The lines of a batch name one model; an earlier line names {shown(model)}, this one {shown(named)}."
            )
            raise BadBatch(ApiError(400, sentence, param="model", code="mismatched_model"), raw.number)
    if not total:
        raise BadBatch(ApiError(400, "The file has no lines.", code="empty_file"))
    return Checked(total, find(None) if model is None else model)
