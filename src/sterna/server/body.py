"""The base of all bodies of requests."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, model_validator


class Body(BaseModel):
    """The body of a request. Clients send null or an empty list for what they do not want, and fields that we do not
    know: all these are left out."""

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        return {name: value for name, value in fields.items() if value is not None and value != []}
