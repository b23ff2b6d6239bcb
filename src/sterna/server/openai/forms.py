"""The fields that say which form a text has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sterna.engine.grammar import Grammar
from sterna.server.errors import ApiError


def response_format(form: Mapping[str, Any], param: str = "response_format") -> Grammar | None:
    """The grammar of `response_format`, or of a response's `text.format`, whose schema is not nested; None for plain
    text. Raises `ApiError`, naming the field `param`, for an unknown type, and `GrammarError` for a wrong schema."""
    match form.get("type"):
        case "text":
            return None
        case "json_object":
            return Grammar.json_schema(form["schema"]) if form.get("schema") else Grammar.json_object()
        case "json_schema":
            holder = form.get("json_schema", form)
            if isinstance(holder, Mapping) and "schema" in holder:
                return Grammar.json_schema(holder["schema"])
            raise ApiError(400, "A format of the type json_schema needs a schema.", param=param)
        case kind:
            raise ApiError(400, f"A format has the type text, json_object or json_schema, not {kind!r}.", param=param)
