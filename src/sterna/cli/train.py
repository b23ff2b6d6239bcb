"""`sterna train`: trains a ternary model from scratch, as a TOML file describes it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sterna.errors import NotFoundError, UnsupportedError


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="What to train, on what, and how.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Keys of the config to replace, such as training.steps=100."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
) -> None:
    """Train a ternary model from scratch.

    A run that was interrupted continues from its last checkpoint.
    """
    if not config.exists():
        raise NotFoundError(f"{config} cannot be read: no such file is there.")
    try:
        from sterna.train.plan import describe, plan_training
        from sterna.train.trainer import run_training
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UnsupportedError("Training needs PyTorch: pip install 'sterna[train]'.") from None
    if dry_run:
        print(*describe(plan_training(config, overrides or ())), sep="\n")
    else:
        run_training(config, overrides=overrides or ())
