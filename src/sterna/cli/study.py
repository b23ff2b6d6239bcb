"""`sterna study`: studies that train, quantise and measure models of their own."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sterna.cli.options import Json, value_flag
from sterna.cli.output import print_json
from sterna.cli.streams import say
from sterna.engine.checks import OneOf, Whole
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
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="MODEL", help="Study this model instead of own ones, on --tasks and problems."),
    ] = None,
    tasks: Annotated[
        str | None, typer.Option("--tasks", metavar="LIST", help="With --model: tasks as sterna eval takes them.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Where the files of tasks lie; default: STERNA_CACHE/eval."),
    ] = None,
    limit: Annotated[int, value_flag(Whole(1), "--limit", help="With --model: most items of each task.")] = 300,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw the table: .png or .svg.")] = None,
    json: Json = False,
) -> None:
    """Train small models, or take one, quantise them, and say what is lost first.

    Float, ternary and binary models of one text; tasks of maths and of language; retention, tests, and their ratio.
    """
    if subject != "degradation":
        raise ArgumentError(f"The study is called degradation, not '{subject}'.")
    if model is not None and (train or quick or text is not None):
        raise ArgumentError("--train, --quick and --text are for models of the study's own, and --model names another.")
    if model is None and data is not None:
        raise ArgumentError("--data goes with --model and --tasks.")
    if (model is None) != (tasks is None):
        raise ArgumentError("--model and --tasks go together.")
    if model is None and (text is None) != (held_out is None):
        raise ArgumentError("--text and --held-out go together: what is tested must not be trained on.")
    try:
        from sterna.bench.figures import check_plots
        from sterna.study.degradation import run_study, study_model
        from sterna.study.models import SIZES
        from sterna.study.report import lines
        from sterna.study.report import plot as draw
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UnsupportedError("Studies need PyTorch: pip install 'sterna[train]'.") from None
    if plot is not None:
        check_plots(plot)
    if model is not None and tasks is not None:
        from sterna.evaluate.files import data_folder, find_tasks
        from sterna.files.hub.cache import resolve_model

        path = resolve_model(model)
        files = find_tasks(tasks, data_folder(data))
        # By what was asked for: a model of the hub lies in a folder whose name is a checksum.
        name = Path(model).resolve().name.removesuffix(".gguf")
        found = study_model(folder / name, name, path, files, limit, held_out or (), say)
    else:
        named = "quick" if quick else size
        found = run_study(folder / named, SIZES[named], train or quick, text or (), held_out or (), say)
    if json:
        print_json(asdict(found))
    else:
        for line in lines(found):
            print(line)
    if plot is not None:
        draw(found, plot)
