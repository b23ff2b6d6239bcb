"""`sterna finetune`: trains a model further, or turns a full-precision one ternary, as a TOML file describes it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from sterna.cli.live_line import LiveLine
from sterna.errors import ArgumentError, NotFoundError, UnsupportedError


def finetune(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG.toml]", help="What to fine-tune, on what, and how.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Keys of the config to replace, such as training.steps=100."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the first batches, what is learned of them, and the memory; do nothing."),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="RUN", help="Draw the curves of a run, given its output folder or its log."),
    ] = None,
) -> None:
    """Fine-tune a model, or convert a full-precision one to ternary.

    A run that was interrupted continues from its last checkpoint.
    """
    if plot is not None:
        from sterna.train.watch.plot import plot_run

        print(plot_run(plot))
    elif config is None:
        raise ArgumentError("sterna finetune needs the TOML file of a run.")
    elif not config.exists():
        raise NotFoundError(f"{config} cannot be read: no such file is there.")
    else:
        _finetune(config, overrides or [], dry_run)


def _finetune(config: Path, overrides: list[str], dry_run: bool) -> None:
    try:
        from sterna.finetune.describe import describe
        from sterna.finetune.plan import plan_finetuning
        from sterna.finetune.run import run_finetuning
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UnsupportedError("Fine-tuning needs PyTorch: pip install 'sterna[train]'.") from None
    if dry_run:
        print(*describe(plan_finetuning(config, overrides).continued(), sys.stdout.isatty()), sep="\n")
        return
    terminal = LiveLine()
    try:
        run_finetuning(config, terminal.say, overrides, terminal.show if sys.stderr.isatty() else None)
    finally:
        terminal.clear()
