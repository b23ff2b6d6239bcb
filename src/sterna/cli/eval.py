"""`sterna eval`: measures how well a model predicts a text."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sterna.cli.options import Json, Model, with_flags
from sterna.cli.output import print_json, progress, report_head
from sterna.cli.texts import read_text
from sterna.engine.options import EngineOptions


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
    content = read_text(text)
    from sterna.engine.llm import LLM
    from sterna.evaluate.perplexity import evaluate_text

    llm = LLM(model, options)
    report_head(llm)
    with progress("evaluating") as advance:
        score = evaluate_text(llm, content, advance)
    if json:
        print_json(asdict(score))
    else:
        print(
            f"{score.bits_per_byte:.4f} bits per byte, perplexity {score.perplexity:.3f} "
            f"over {score.tokens:,} tokens ({score.bytes:,} bytes) in {score.seconds:.1f} s"
        )
