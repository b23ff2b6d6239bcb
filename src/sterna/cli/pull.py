"""`sterna pull`: downloads a model from the hub into the cache."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer


def pull(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="ORG/REPO or a well-known name; :FILE or :i2_s takes one of several.")
    ],
    revision: Annotated[str | None, typer.Option("--revision", help="A branch, tag or commit; default: main.")] = None,
    token: Annotated[str | None, typer.Option("--token", help="Access token; default: HF_TOKEN.")] = None,
) -> None:
    """Download a model from the hub.

    A model in the cache is brought up to date, and an interrupted download is resumed. Prints the path.
    """
    from sterna.errors import ArgumentError
    from sterna.files.embedded import EMBEDDED_MODEL, EMBEDDED_NAME
    from sterna.files.hub import cache

    if name == EMBEDDED_NAME:
        print(EMBEDDED_MODEL)
        return
    reference = cache.parse_reference(name)
    if reference is not None and revision:
        reference = cache.parse_reference(str(replace(reference, revision=revision)))
    if reference is None:
        raise ArgumentError(
            f"{name} with the revision {revision or 'main'} names no repository of the hub: give ORG/REPO, or one of "
            f"{', '.join(cache.WELL_KNOWN)}."
        )
    print(cache.pull(reference, token))
