"""What the server knows of a dialect: its addresses, and how it words an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, model_validator

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


class Body(BaseModel):
    """The body of a request. Clients send null or an empty list for what they do not want, and fields that we do not
    know: all these are left out."""

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        return {name: value for name, value in fields.items() if value is not None and value != []}


async def _models(request: Request) -> Models:
    models: Models = request.app.state.models
    return models


KnownModels = Annotated[Models, Depends(_models)]
"""The parameter with which an endpoint gets the server's models."""
