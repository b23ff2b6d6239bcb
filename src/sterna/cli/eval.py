"""`sterna eval`: how well a model predicts a text."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sterna.cli.options import (
    Context,
    Head,
    I2SLayout,
    Json,
    Kv,
    Model,
    Threads,
    print_json,
    progress,
    read_text,
    report_head,
)


def evaluate(
    text: Annotated[Path, typer.Option("--text", help="A UTF-8 text file.", show_default=False)],
    model: Model = None,
    ctx: Context = None,
    threads: Threads = None,
    i2s_layout: I2SLayout = "x86",
    kv: Kv = "f16",
    head: Head = "full",
    json: Json = False,
) -> None:
    """Bits per byte and perplexity of a text file."""
    content = read_text(text)
    from sterna.engine.llm import LLM
    from sterna.evaluate.perplexity import evaluate_text

    llm = LLM(model, threads=threads, ctx=ctx, i2s_layout=i2s_layout, kv=kv, head=head)
    report_head(llm, head)
    with progress("evaluating") as advance:
        score = evaluate_text(llm, content, advance)
    if json:
        print_json(asdict(score))
    else:
        print(
            f"{score.bits_per_byte:.4f} bits per byte, perplexity {score.perplexity:.3f} "
            f"over {score.tokens:,} tokens ({score.bytes:,} bytes) in {score.seconds:.1f} s"
        )
