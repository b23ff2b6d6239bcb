"""Calls of tools in the messages of a conversation: {"id", "type": "function", "function": {"name", "arguments"}}.

Arguments are a mapping or its JSON text; of a call that a model got wrong they are whatever text it wrote.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def with_parsed_arguments(calls: Any) -> Any:
    """Calls whose arguments are mappings, as templates read them; broken ones, and what is no list, as they are."""
    if not isinstance(calls, list | tuple):
        return calls
    return [_with_arguments(call, parsed) if (parsed := _parsed(call)) is not None else call for call in calls]


def with_broken_calls_as_text(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """The message with its broken calls at the end of its text; a message without any as it is."""
    calls = message.get("tool_calls")
    content = message.get("content")
    if not isinstance(calls, list | tuple) or not isinstance(content, str | None):
        return message
    broken = [call for call in calls if _is_broken(call)]
    if not broken:
        return message
    kept = [call for call in calls if not _is_broken(call)]
    texts = [content or "", *(f"{call['function'].get('name')}: {call['function']['arguments']}" for call in broken)]
    spoken = {**message, "content": "\n".join(filter(None, texts)), "tool_calls": kept}
    if not kept:
        del spoken["tool_calls"]
    return spoken


def _function(call: Any) -> Mapping[str, Any]:
    function = call.get("function") if isinstance(call, Mapping) else None
    return function if isinstance(function, Mapping) else {}


def _parsed(call: Any) -> dict[str, Any] | None:
    """The arguments that a call has as JSON text; None where it has no such."""
    arguments = _function(call).get("arguments")
    if not isinstance(arguments, str):
        return None
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_broken(call: Any) -> bool:
    return isinstance(_function(call).get("arguments"), str) and _parsed(call) is None


def _with_arguments(call: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {**call, "function": {**call["function"], "arguments": arguments}}
