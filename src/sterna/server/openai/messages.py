"""Messages of OpenAI's API as chat templates read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sterna.server.errors import ApiError

_TEXTS = ("text", "input_text", "output_text")
"""The kinds of parts that are text; Responses have the last two."""


def template_messages(messages: Sequence[Mapping[str, Any]], param: str = "messages") -> list[dict[str, Any]]:
    """The messages with texts for contents; fields that are null are left out, and developers are the system.

    Raises `ApiError`, naming the field `param`, for a part that is no text.
    """
    return [_message(message, param) for message in messages]


def _message(message: Mapping[str, Any], param: str) -> dict[str, Any]:
    fields = {name: value for name, value in message.items() if value is not None and value != []}
    if isinstance(fields.get("content"), list):
        fields["content"] = "".join(_text(part, param) for part in fields["content"])
    if fields.get("role") == "developer":
        fields["role"] = "system"
    fields.setdefault("content", None if fields.keys() & {"tool_calls", "function_call"} else "")
    return fields


def _text(part: Any, param: str) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind in _TEXTS and isinstance(part.get("text"), str):
        text: str = part["text"]
        return text
    if kind == "refusal":
        return str(part.get("refusal", ""))
    raise ApiError(400, f"A content is text; this server does not take parts of the type {kind!r}.", param=param)
