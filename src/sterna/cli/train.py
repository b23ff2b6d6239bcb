"""`sterna train`: trains a ternary model from scratch, as a TOML file describes it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sterna.cli.visible import visible
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


class LiveLine:
    """Lines of progress on stderr, and below them, in a terminal, one that is written over after every step."""

    def __init__(self) -> None:
        self._shown = False

    def say(self, line: str) -> None:
        """Prints a line that stays."""
        self.clear()
        print(visible(line), file=sys.stderr, flush=True)

    def show(self, record: Any) -> None:
        """Writes over the live line with a `step` record."""
        from sterna.train.watch.lines import progress

        columns = shutil.get_terminal_size().columns
        text = f"step {record['step']} {progress(record)}"[: columns - 1]
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
        self._shown = True

    def clear(self) -> None:
        """Removes the live line."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._shown = False
