"""Messages of Ollama's API in OpenAI's form, which chat templates read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sterna.server.errors import ApiError


def template_messages(messages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages with arguments of calls as JSON text. Raises `ApiError` for one with images."""
    return [_message(message) for message in messages]


def refuse_images(images: Any) -> None:
    """Raises `ApiError` where there are images."""
    if images:
        raise ApiError(400, "This server takes no images.", param="images")


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    refuse_images(message.get("images"))
    fields: dict[str, Any] = {"role": message.get("role"), "content": message.get("content") or ""}
    for name, given in (("reasoning_content", "thinking"), ("name", "tool_name"), ("tool_call_id", "tool_call_id")):
        if message.get(given):
            fields[name] = message[given]
    if message.get("tool_calls"):
        fields["tool_calls"] = [_call(index, call) for index, call in enumerate(message["tool_calls"])]
    return fields


def _call(index: int, call: Any) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        raise ApiError(400, "Each of tool_calls has a function.", param="messages")
    arguments = function.get("arguments", {})
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {
        "id": call.get("id") or f"call_{index}",
        "type": "function",
        "function": {"name": function.get("name"), "arguments": text},
    }
