"""`sterna train`: trains a ternary model from scratch, as a TOML file describes it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sterna.errors import NotFoundError, UnsupportedError


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="What to train, on what, and how.")],
) -> None:
    """Train a model; a run that was interrupted continues from its last checkpoint."""
    if not config.exists():
        raise NotFoundError(f"{config} cannot be read: no such file is there.")
    try:
        from sterna.train.trainer import run_training
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UnsupportedError("Training needs PyTorch: pip install 'sterna[train]'.") from None
    run_training(config)
