"""What the server knows of a dialect: its addresses, and how it words an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from sterna.server.errors import ApiError
from sterna.server.models import Models


@dataclass(frozen=True)
class Dialect:
    """An API that clients speak."""

    router: APIRouter
    prefixes: tuple[str, ...]
    """What its paths begin with. A path belongs to the dialect with the longest of these."""
    error_body: Callable[[ApiError], Any]
    """The JSON of an error."""


async def _models(request: Request) -> Models:
    models: Models = request.app.state.models
    return models


KnownModels = Annotated[Models, Depends(_models)]
"""The parameter with which an endpoint gets the server's models."""
