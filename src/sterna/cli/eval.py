"""`sterna eval`: measures how well a model predicts a text."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Annotated

import typer

from sterna.cli.options import Json, Model, with_flags
from sterna.cli.output import Advance, print_json, progress, report_head
from sterna.engine.options import EngineOptions
from sterna.errors import FormatError, NotFoundError
from sterna.files.text import open_text, parts


@with_flags()
def evaluate(
    *,
    text: Annotated[
        Path, typer.Option("--text", metavar="FILE", help="A UTF-8 text file; -: stdin.", show_default=False)
    ],
    model: Model = None,
    options: EngineOptions,
    json: Json = False,
) -> None:
    """Measure how well a model predicts a text.

    Bits per byte and perplexity of a text file.
    """
    with opened(text) as file:
        from sterna.engine.llm import LLM
        from sterna.evaluate.perplexity import evaluate_tokens, read_tokens

        llm = LLM(model, options)
        report_head(llm)
        with progress("reading") as advance:
            tokens, text_bytes = read_tokens(llm, read_parts(file, advance))
    with progress("evaluating") as advance:
        score = evaluate_tokens(llm, tokens, text_bytes, advance)
    if json:
        print_json(asdict(score))
    else:
        print(
            f"{score.bits_per_byte:.4f} bits per byte, perplexity {score.perplexity:.3f} "
            f"over {score.tokens:,} tokens ({score.bytes:,} bytes) in {score.seconds:.1f} s"
        )


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file, or stdin for `-`. Raises `NotFoundError` where it cannot be read, `FormatError` where it is no UTF-8."""
    name = "stdin" if str(path) == "-" else str(path)
    if name == "stdin" and sys.stdin is None:
        raise NotFoundError("stdin cannot be read: it is closed.")
    try:
        file = sys.stdin.buffer if name == "stdin" else open(path, "rb")
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}.") from None
    with file:
        try:
            yield file
        except UnicodeDecodeError:
            raise FormatError(f"{name} is not UTF-8 text.") from None


def read_parts(file: IO[bytes], advance: Advance) -> Iterator[str]:
    """The text of a file in parts; moves the bar with what was read."""
    size = os.fstat(file.fileno()).st_size
    for part in parts(open_text(file)):
        yield part
        advance(min(file.tell() / size, 1.0) if size else 0.0)
