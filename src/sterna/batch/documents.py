"""A folder of documents as the input of a job: a prompt for each part of each document."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sterna.batch.chunks import chunks
from sterna.batch.extract import SUFFIXES, text_of
from sterna.batch.lines import RawLine
from sterna.batch.source import Source
from sterna.errors import ArgumentError, ContextLengthError, FormatError, NotFoundError, SternaError
from sterna.model.tokenizer import Tokenizer

HERE = "{text}"
"""What stands for the text of a part in a prompt; a prompt without it comes before the text."""
OVERLAP_SHARE = 10
"""By default parts share one token in so many."""


@dataclass(frozen=True)
class Documents:
    """What is asked about each part of a document."""

    prompt: str
    """With `{text}` where the part goes, and `{file}` where its name goes."""
    chunk: int | None = None
    """Most tokens of a part; None: what the context has room for."""
    overlap: int | None = None
    """Tokens that a part has from the one before; None: a tenth of `chunk`."""
    schema: dict[str, Any] | None = None
    """The JSON schema of the answers."""

    @classmethod
    def read(
        cls, prompt: Path, chunk: int | None = None, overlap: int | None = None, schema: Path | None = None
    ) -> Documents:
        """With the prompt and the schema of two files. Raises NotFoundError, or FormatError for what is no text in
        UTF-8 or no JSON object."""
        found: Any = None
        if schema is not None:
            try:
                found = json.loads(_text(schema))
            except (ValueError, RecursionError):
                found = None
            if not isinstance(found, dict):
                raise FormatError(f"{schema} is no JSON object.")
        return cls(_text(prompt), chunk, overlap, found)

    def source(self, folder: Path, tokenizer: Tokenizer, context: int, answer: int | None) -> Source:
        """The input of a job. `answer`: most tokens of an answer.

        Raises ArgumentError for what is no folder, has no documents, or for parts that do not fit, ContextLengthError
        for a prompt that leaves no room.
        """
        if not folder.is_dir():
            raise ArgumentError(f"{folder} is no folder of documents.")
        files = list(_files(folder))
        if not files:
            raise ArgumentError(f"{folder} has no documents ({', '.join(SUFFIXES)}).")
        size, overlap = self._sizes(tokenizer, context, answer)
        return Source(self._lines(folder, files, tokenizer, size, overlap), None)

    def _sizes(self, tokenizer: Tokenizer, context: int, answer: int | None) -> tuple[int, int]:
        taken = len(tokenizer.encode_chat(self._messages("", ""))) + (answer or 0)
        # The tokens of a part that stands in a prompt may be a few more than those of the part alone.
        room = context - taken - 8
        if room < 8:
            raise ContextLengthError(
                f"The prompt and the answer take {taken} of the context's {context} tokens; shorten one of them."
            )
        size = room if self.chunk is None else self.chunk
        if size > room:
            raise ArgumentError(f"A part has at most {room} tokens beside the prompt and the answer, not {size}.")
        overlap = size // OVERLAP_SHARE if self.overlap is None else self.overlap
        if not 0 <= overlap < size:
            raise ArgumentError(f"Parts of {size} tokens overlap by fewer than that, not by {overlap}.")
        return size, overlap

    def _lines(
        self, folder: Path, files: list[str], tokenizer: Tokenizer, size: int, overlap: int
    ) -> Iterator[RawLine]:
        number = 0
        for name in files:
            try:
                parts = list(chunks(tokenizer, text_of(folder / name), size, overlap))
            except SternaError as error:
                number += 1
                yield RawLine(number, name.encode("utf-8", "replace"), f"The document {name!r}: {error}")
                continue
            for part, text in enumerate(parts, 1):
                number += 1
                line = {
                    "row": {"file": name, "part": part, "parts": len(parts)},
                    "url": "/v1/chat/completions",
                    "body": self._body(name, text),
                }
                yield RawLine(number, json.dumps(line, ensure_ascii=False).encode("utf-8", "replace"))

    def _body(self, name: str, text: str) -> dict[str, Any]:
        body: dict[str, Any] = {"messages": self._messages(name, text)}
        if self.schema is not None:
            schema = {"name": "answer", "schema": self.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body

    def _messages(self, name: str, text: str) -> list[dict[str, str]]:
        prompt = self.prompt if HERE in self.prompt else f"{self.prompt.rstrip()}\n\n{HERE}"
        before, *rest = prompt.split(HERE)
        # What a document holds is never searched for {file}.
        content = text.join(piece.replace("{file}", name) for piece in (before, *rest))
        return [{"role": "user", "content": content}]


def _files(folder: Path) -> Iterator[str]:
    """The documents of a folder and of those in it, in the order of their names. Hidden files and links are passed
    over."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if (
                not name.startswith(".")
                and path.suffix.lower() in SUFFIXES
                and path.is_file()
                and not path.is_symlink()
            ):
                yield path.relative_to(folder).as_posix()


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise FormatError(f"{path} is no text in UTF-8.") from None
