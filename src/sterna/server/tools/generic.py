"""Calls of models whose template knows no tools, or has a form of its own that is not JSON: an answer is
`{"tool_calls": [{"name": ..., "arguments": {...}}, ...]}`, as the instructions ask that are added to the messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sterna.server.tools.form import NAME, Form
from sterna.server.tools.parser import ToolParser
from sterna.server.tools.spec import Tool

MARK = '{"tool_calls": ['
INSTRUCTIONS = """You can call functions. These are, one a line:
{functions}
To call functions, answer with nothing but one line of JSON in this form:
{mark}{{"name": "the function", "arguments": {{...}}}}]}}
What they return comes in a message that begins with "Result". If no function helps, answer in plain words."""


class GenericParser(ToolParser):
    """Finds the calls."""

    mark = MARK

    def _ended(self) -> bool:
        skipped = self._skip(",", "]")
        if skipped == ",":
            self._raw, self._state = "", self._object
        elif skipped is not None:
            self._state = self._closing if skipped else self._after_calls
        return skipped is not None

    def _closing(self) -> bool:
        skipped = self._skip("}")
        if skipped is not None:
            self._raw, self._state = "", self._after_calls
        return skipped is not None


GENERIC = Form(
    style="generic",
    matches=lambda template: True,
    parser=GenericParser,
    mark=MARK,
    head=(f'{{"name": "{NAME}", "arguments": ',),
    between=(", ",),
    closing="]}",
)


def instructions(tools: Sequence[Tool]) -> str:
    """What a model is told about tools that its template does not show."""
    lines = (
        json.dumps(
            {"name": tool.name, "description": tool.description, "parameters": tool.parameters}, ensure_ascii=False
        )
        for tool in tools
    )
    return INSTRUCTIONS.format(functions="\n".join(lines), mark=MARK)


def told(messages: Sequence[Mapping[str, Any]], tools: Sequence[Tool], role: str = "system") -> list[dict[str, Any]]:
    """Messages for a template without tools: the instructions before the first message of `role`, if that begins the
    conversation, or in a message of their own; calls and results as text."""
    spoken = [_spoken(message) for message in messages]
    text = instructions(tools)
    first = spoken[0] if spoken else None
    if first is not None and first.get("role") == role and isinstance(first.get("content"), str):
        return [{**first, "content": f"{text}\n\n{first['content']}"}, *spoken[1:]]
    return [{"role": role, "content": text}, *spoken]


def _spoken(message: Mapping[str, Any]) -> dict[str, Any]:
    if message.get("role") == "tool":
        name = message.get("name") or message.get("tool_name") or message.get("tool_call_id") or ""
        return {"role": "user", "content": f"Result {name}: {_text(message.get('content'))}".replace(" :", ":")}
    calls = message.get("tool_calls")
    if not isinstance(calls, list | tuple) or not calls:
        return dict(message)
    written = ", ".join(map(_written, calls))
    content = "\n".join(filter(None, (_text(message.get("content")), f"{MARK}{written}]}}")))
    return {key: value for key, value in message.items() if key != "tool_calls"} | {"content": content}


def _written(call: Any) -> str:
    function = call.get("function", {}) if isinstance(call, Mapping) else {}
    arguments = function.get("arguments", {})
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return f'{{"name": {json.dumps(function.get("name"), ensure_ascii=False)}, "arguments": {text}}}'


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(
            part["text"] for part in content if isinstance(part, Mapping) and isinstance(part.get("text"), str)
        )
    return content if isinstance(content, str) else ""
