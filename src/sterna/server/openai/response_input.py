"""The items of a response's input as messages of a chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sterna.server.errors import ApiError
from sterna.server.openai.messages import template_messages


def input_messages(given: str | Sequence[Mapping[str, Any]], instructions: str | None) -> list[dict[str, Any]]:
    """Messages for a template. The model's calls and thoughts become parts of one message with the answer beside them.

    Raises `ApiError` for an item that is neither a message, a thought, a call nor a call's result.
    """
    messages: list[dict[str, Any]] = [{"role": "system", "content": instructions}] if instructions else []
    items: Sequence[Mapping[str, Any]] = [{"role": "user", "content": given}] if isinstance(given, str) else given
    for item in items:
        message = _message(item)
        before = messages[-1] if messages else {}
        if _is_models(message) and _is_models(before) and not ("content" in before and "content" in message):
            calls = [*before.get("tool_calls", ()), *message.get("tool_calls", ())]
            messages[-1] = {**before, **message, **({"tool_calls": calls} if calls else {})}
        else:
            messages.append(message)
    return template_messages(messages, "input")


def _is_models(message: Mapping[str, Any]) -> bool:
    return message.get("role") == "assistant"


def _message(item: Mapping[str, Any]) -> dict[str, Any]:
    match item.get("type", "message"):
        case "message":
            return {"role": item.get("role"), "content": item.get("content")}
        case "reasoning":
            parts = item.get("content") or item.get("summary") or []
            text = "".join(part["text"] for part in parts if isinstance(part, Mapping) and "text" in part)
            return {"role": "assistant", "reasoning_content": text}
        case "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments")}
            return {
                "role": "assistant",
                "tool_calls": [{"id": item.get("call_id"), "type": "function", "function": function}],
            }
        case "function_call_output":
            return {"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")}
        case kind:
            raise ApiError(400, f"An item of the type {kind!r} cannot be an input here.", param="input")
