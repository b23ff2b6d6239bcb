"""The form by which a file is uploaded, read piece by piece: its content goes to the disk as it comes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from sterna.jobs.files import Incoming
from sterna.server.errors import ApiError

CONTENT = "file"
"""The name of the part that goes to the disk."""
FIELD_BYTES = 1024
"""The longest value of any other part."""
NAME_LENGTH = 255


@dataclass
class Form:
    """What a form says beside the content."""

    filename: str | None = None
    """The name of the file; None where no file came."""
    fields: dict[str, str] = field(default_factory=dict)


async def read_form(content_type: str, body: AsyncIterator[bytes], incoming: Incoming) -> Form:
    """Reads a `multipart/form-data` body. Raises `ApiError` for what is none, and as `Incoming.write`."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise ApiError(400, "A file is sent as a form: multipart/form-data with the parts file and purpose.")
    reader = _Reader(options[b"boundary"])
    async for piece in body:
        content = reader.feed(piece)
        if content:
            await incoming.write(content)
    return reader.end()


class _Reader:
    """Parts of a form as they come."""

    def __init__(self, boundary: bytes) -> None:
        self._form, self._ended = Form(), False
        self._headers: dict[bytes, bytes] = {}
        self._header, self._value = b"", b""
        self._part = ""
        """The name of the part that comes."""
        self._content: list[bytes] = []
        self._values: dict[str, bytes] = {}
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._headers.clear,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_end": self._on_end,
                },
            )
        except FormParserError:
            raise ApiError(400, "The boundary of the form is not valid.") from None

    def feed(self, piece: bytes) -> bytes:
        """The content that a piece of the body has. Raises `ApiError`."""
        self._content = []
        try:
            self._parser.write(piece)
        except FormParserError:
            raise ApiError(400, "The body is no valid form (multipart/form-data).") from None
        return b"".join(self._content)

    def end(self) -> Form:
        """The form, which is complete. Raises `ApiError`."""
        if not self._ended:
            raise ApiError(400, "The form breaks off before its end.")
        self._form.fields = {name: value.decode("utf-8", "replace") for name, value in self._values.items()}
        return self._form

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._part = options.get(b"name", b"").decode("utf-8", "replace")
        if self._part == CONTENT:
            if self._form.filename is not None:
                raise ApiError(400, "A form has one file.", param=CONTENT)
            self._form.filename = shown_name(options.get(b"filename", b"").decode("utf-8", "replace"))
        elif len(self._values) >= 16:
            raise ApiError(400, "The form has too many parts.")
        else:
            self._values[self._part] = b""

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._part == CONTENT:
            self._content.append(data[start:end])
            return
        self._values[self._part] += data[start:end]
        if len(self._values[self._part]) > FIELD_BYTES:
            raise ApiError(400, f"The part {self._part[:80]} of the form has more than {FIELD_BYTES} bytes.")

    def _on_end(self) -> None:
        self._ended = True


def shown_name(name: str) -> str:
    """A name as lists show it: without folders and control characters."""
    name = PureWindowsPath(PurePosixPath(name).name).name
    return re.sub(r"[\x00-\x1f\x7f]", "", name)[:NAME_LENGTH] or "file"
