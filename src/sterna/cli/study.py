"""`sterna study`: studies that train, quantise and measure models of their own."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sterna.cli.options import Json, value_flag
from sterna.cli.output import print_json
from sterna.cli.streams import say
from sterna.engine.checks import OneOf
from sterna.errors import ArgumentError, UnsupportedError


def study(
    subject: Annotated[str, typer.Argument(metavar="degradation", help="What is studied: what few bits cost first.")],
    folder: Annotated[Path, typer.Option("--folder", metavar="DIR", help="Where models and texts are kept.")] = Path(
        "build/study"
    ),
    size: Annotated[
        str,
        value_flag(OneOf("full", "small", "quick"), "--size", help="How large the models are, and how long trained."),
    ] = "full",
    quick: Annotated[
        bool, typer.Option("--quick", help="--size quick --train: whether everything runs, in less than a minute.")
    ] = False,
    train: Annotated[
        bool, typer.Option("--train", help="Train the models that are not in DIR; a training goes on where it stopped.")
    ] = False,
    text: Annotated[
        list[Path] | None,
        typer.Option("--text", metavar="FILE", help="Novels to train on; may be repeated; default: the package's own."),
    ] = None,
    held_out: Annotated[
        list[Path] | None,
        typer.Option("--held-out", metavar="FILE", help="Novels to test on; goes with --text; may be repeated."),
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw the table: .png or .svg.")] = None,
    json: Json = False,
) -> None:
    """Train small models, quantise them, and say what is lost first.

    Float, ternary and binary models of one text; tasks of maths and of language; retention, tests, and their ratio.
    """
    if subject != "degradation":
        raise ArgumentError(f"The study is called degradation, not '{subject}'.")
    if (text is None) != (held_out is None):
        raise ArgumentError("--text and --held-out go together: what is tested must not be trained on.")
    try:
        from sterna.bench.figures import check_plots
        from sterna.study.degradation import run_study
        from sterna.study.models import SIZES
        from sterna.study.report import lines
        from sterna.study.report import plot as draw
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UnsupportedError("Studies need PyTorch: pip install 'sterna[train]'.") from None
    if plot is not None:
        check_plots()
    named = "quick" if quick else size
    found = run_study(folder / named, SIZES[named], train or quick, text or (), held_out or (), say)
    if json:
        print_json(asdict(found))
    else:
        for line in lines(found):
            print(line)
    if plot is not None:
        draw(found, plot)
