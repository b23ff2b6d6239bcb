"""`sterna rm`: removes a model from the cache."""

from __future__ import annotations

from typing import Annotated

import typer


def remove(name: Annotated[str, typer.Argument(metavar="NAME", help="As `sterna list` shows it.")]) -> None:
    """Delete a downloaded model.

    Deletes its repository, with all revisions, from the cache.
    """
    from sterna.files.hub.cache import remove_cached

    print(f"Freed {remove_cached(name) / 1e6:,.1f} MB.")
