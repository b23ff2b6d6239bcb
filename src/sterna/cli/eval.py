"""`sterna eval`: measures how well a model predicts a text."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, Annotated

import typer

from sterna.cli.options import Json, Model, with_flags
from sterna.cli.output import Advance, print_json, progress, report_head
from sterna.cli.texts import open_file, reading
from sterna.engine.options import EngineOptions
from sterna.files.text import open_text, parts


@with_flags()
def evaluate(
    *,
    text: Annotated[Path, typer.Option("--text", metavar="FILE", help="A UTF-8 text file; -: stdin.")],
    model: Model = None,
    options: EngineOptions,
    json: Json = False,
) -> None:
    """Measure how well a model predicts a text.

    Bits per byte and perplexity of a text file.
    """
    with open_file(text) as file:
        from sterna.engine.llm import LLM
        from sterna.evaluate.perplexity import evaluate_tokens, read_tokens

        llm = LLM(model, options)
        report_head(llm)
        with progress("reading") as advance, reading(text):
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


def read_parts(file: IO[bytes], advance: Advance) -> Iterator[str]:
    """The text of a UTF-8 file in parts of at most 65,536 characters. `advance` gets the share of its bytes read."""
    size = os.fstat(file.fileno()).st_size
    for part in parts(open_text(file)):
        yield part
        advance(min(file.tell() / size, 1.0) if size else 0.0)
