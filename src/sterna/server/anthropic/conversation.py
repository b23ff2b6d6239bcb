"""Messages and tools of Anthropic's API in OpenAI's form, which chat templates read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from sterna.server.errors import ApiError

Content = str | Sequence[Mapping[str, Any]]
"""A text, or blocks."""


def template_messages(system: Content, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages with texts for contents. Turns of one role that follow each other are one turn, and the result of a
    tool is a message of its own. Raises `ApiError` for a block that a model of texts cannot take."""
    converted = [{"role": "system", "content": _joined(system, "system")}] if system else []
    for role, turns in groupby(messages, key=lambda message: message.get("role")):
        blocks = [block for turn in turns for block in _blocks(turn.get("content", ""), "messages")]
        converted += [_answer(blocks)] if role == "assistant" else _turn(str(role), blocks)
    return converted


def split_prefill(messages: Sequence[Mapping[str, Any]]) -> tuple[Sequence[Mapping[str, Any]], str]:
    """The messages without an assistant's at the end that is nothing but text, and that text, which begins the answer.
    Raises `ApiError` for a content that is neither text nor blocks."""
    if messages and messages[-1].get("role") == "assistant":
        blocks = _blocks(messages[-1].get("content", ""), "messages")
        if all(block.get("type") == "text" for block in blocks):
            return messages[:-1], _joined(blocks, "messages")
    return messages, ""


def functions(tools: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The tools in OpenAI's form. Raises `ApiError` for those that Anthropic's own servers run."""
    converted = []
    for tool in tools:
        if tool.get("type", "custom") != "custom":
            raise ApiError(400, f"Tools are functions; this server has no {tool['type']!r}.", param="tools")
        function = {"name": tool.get("name"), "parameters": tool.get("input_schema", {})}
        if tool.get("description") is not None:
            function["description"] = tool["description"]
        converted.append({"type": "function", "function": function})
    return converted


def function_choice(choice: Mapping[str, Any]) -> str | dict[str, Any]:
    """`tool_choice` in OpenAI's form. Raises `ApiError` for an unknown one."""
    match choice.get("type"):
        case "auto" | "none" as kind:
            return str(kind)
        case "any":
            return "required"
        case "tool":
            return {"type": "function", "function": {"name": choice.get("name")}}
        case kind:
            raise ApiError(
                400, f"The type of tool_choice is auto, any, tool or none, not {kind!r}.", param="tool_choice"
            )


def _blocks(content: Any, param: str) -> Sequence[Mapping[str, Any]]:
    """A content as blocks."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if isinstance(content, list) and all(isinstance(block, Mapping) for block in content):
        return content
    raise ApiError(400, f"A content in {param} is a text or a list of blocks.", param=param)


def _answer(blocks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A turn of the model: text, thoughts, and calls of tools."""
    kinds = ("tool_use", "thinking", "redacted_thinking")
    texts = [block for block in blocks if block.get("type") not in kinds]
    message: dict[str, Any] = {"role": "assistant", "content": _joined(texts, "messages")}
    thoughts = [str(block.get("thinking", "")) for block in blocks if block.get("type") == "thinking"]
    if thoughts:
        message["reasoning_content"] = "\n".join(thoughts)
    calls = [
        {
            "id": block.get("id"),
            "type": "function",
            "function": {"name": block.get("name"), "arguments": json.dumps(block.get("input"), ensure_ascii=False)},
        }
        for block in blocks
        if block.get("type") == "tool_use"
    ]
    if calls:
        message["tool_calls"] = calls
        message["content"] = message["content"] or None
    return message


def _turn(role: str, blocks: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """A turn of anybody else: texts, with results of tools between them."""
    for is_result, run in groupby(blocks, key=lambda block: block.get("type") == "tool_result"):
        if not is_result:
            yield {"role": role, "content": _joined(list(run), "messages")}
            continue
        for block in run:
            content = _joined(block.get("content") or "", "messages")
            yield {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": content}


def _joined(content: Content, param: str) -> str:
    """The text of blocks, a line break between two."""
    return "\n".join(_text(block, param) for block in _blocks(content, param))


def _text(block: Mapping[str, Any], param: str) -> str:
    source = block.get("source")
    match block.get("type"):
        case "text" if isinstance(block.get("text"), str):
            return str(block["text"])
        case "document" if isinstance(source, Mapping) and source.get("type") == "text":
            return str(source.get("data", ""))
        case kind:
            raise ApiError(
                400, f"A content is text; this server does not take blocks of the type {kind!r}.", param=param
            )
