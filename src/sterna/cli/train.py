"""`sterna train`: trains a ternary model from scratch, as a TOML file describes it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from sterna.cli.live_line import LiveLine
from sterna.errors import ArgumentError, NotFoundError, UnsupportedError


def train(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG.toml]", help="What to train, on what, and how.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Keys of the config to replace, such as training.steps=100."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    list_presets: Annotated[
        bool, typer.Option("--list-presets", help="List the recipes that `preset` of a config may name.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="RUN", help="Draw the curves of a run, given its output folder or its log."),
    ] = None,
) -> None:
    """Train a ternary model from scratch.

    A run that was interrupted continues from its last checkpoint.
    """
    if list_presets:
        from sterna.train.presets import describe_presets

        print(*describe_presets(), sep="\n")
    elif plot is not None:
        from sterna.train.watch.plot import plot_run

        print(plot_run(plot))
    elif config is None:
        raise ArgumentError("sterna train needs the TOML file of a run.")
    else:
        _train(config, overrides or [], dry_run)


def _train(config: Path, overrides: list[str], dry_run: bool) -> None:
    if not config.exists():
        raise NotFoundError(f"{config} cannot be read: no such file is there.")
    try:
        from sterna.train.describe import describe
        from sterna.train.plan import plan_training
        from sterna.train.trainer import run_training
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UnsupportedError("Training needs PyTorch: pip install 'sterna[train]'.") from None
    if dry_run:
        print(*describe(plan_training(config, overrides).continued()), sep="\n")
        return
    terminal = LiveLine()
    try:
        run_training(config, terminal.say, overrides, terminal.show if sys.stderr.isatty() else None)
    finally:
        terminal.clear()
