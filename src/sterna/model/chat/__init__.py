"""Conversations to prompts: the model's own Jinja template, rendered so that no message can forge a special token.

Templates see what was typed as it is, and may trim, split and concatenate it as they like. The strings themselves know
which of their characters were typed (`text.py`), so that a special token is one only where the template wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sterna.errors import ArgumentError, FormatError
from sterna.model.chat.calls import with_broken_calls_as_text, with_parsed_arguments
from sterna.model.chat.templates import FALLBACK_STOPS, FALLBACK_TEMPLATE, FALLBACK_TEMPLATE_NAME, usable_template
from sterna.model.chat.text import Text, typed

__all__ = ["FALLBACK_STOPS", "FALLBACK_TEMPLATE", "FALLBACK_TEMPLATE_NAME", "render", "usable_template"]

ROLES = frozenset(("system", "developer", "user", "assistant", "tool", "function", "ipython", "observation"))
"""The known roles. A role is no free text, because templates build special tokens from it (`<|user|>`)."""

REASONING = ("reasoning_content", "thinking", "reasoning")
"""The names under which messages carry the thoughts before an answer; the first is what most templates read."""


def render(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    add_generation_prompt: bool = True,
    variables: Mapping[str, str] | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    documents: Sequence[Mapping[str, Any]] | None = None,
    options: Mapping[str, Any] | None = None,
    mark_answers: bool = False,
) -> Text:
    """Renders `messages` ({"role", "content"} and what else a template reads) with `template`, as transformers' (5.24)
    `render_jinja_template` does. What was typed in messages is marked so in the result (`typed_mask`); with
    `mark_answers`, what lies in `{% generation %}` blocks too (`sterna.model.chat.answers`).

    `tools`: functions in the form of OpenAI's API; `documents`: what the answer may build on; `options`: what else the
    template reads (`enable_thinking`); all texts in them count as typed. `variables`: texts that are the template's own
    (`bos_token`, `eos_token`). A content that is a list of nothing but texts reaches the template as one text, and the
    arguments of a call as a mapping, if they are the JSON text of one; where the template cannot read what a model got
    wrong, that call is a part of the message's text. Raises ArgumentError for messages that are malformed or that the
    template refuses, FormatError for a template that does not work, breaks the rules of the sandbox or needs too much
    time or memory.
    """
    from sterna.model.chat.sandbox import run

    _check(messages)
    own = {
        **(variables or {}),
        "messages": [_as_templates_read(message) for message in messages],
        "tools": _copied(list(tools)) if tools else None,
        "documents": _copied(list(documents)) if documents else None,
        "add_generation_prompt": add_generation_prompt,
    }
    options = options or {}
    for name in own.keys() & options.keys():
        raise ArgumentError(f"'{name}' is no option of a chat template.")
    given = {**{name: _copied(value) for name, value in options.items()}, **own}
    try:
        return run(template, given, mark_answers)
    except (ArgumentError, FormatError):
        spoken = [with_broken_calls_as_text(message) for message in messages]
        if spoken == list(messages):
            raise
        # Some templates take arguments apart, which a model's own broken JSON does not allow.
        spoken = [_as_templates_read(message) for message in spoken]
        return run(template, {**given, "messages": spoken}, mark_answers)


def _check(messages: Sequence[Mapping[str, Any]]) -> None:
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence) or not messages:
        raise ArgumentError("A conversation is a list of at least one message.")
    for message in messages:
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str | list | None):
            raise ArgumentError('A message is a mapping such as {"role": "user", "content": "text"}.')
        if message.get("role") not in ROLES:
            raise ArgumentError(f"The role of a message is one of {', '.join(sorted(ROLES))}.")
        if all(message.get(key) is None for key in ("content", "tool_calls", "function_call", *REASONING)):
            raise ArgumentError(f"A message of the role {message['role']} has no content.")


def _as_templates_read(message: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a message whose strings, keys included, are typed, all but the role; reasoning stands under each name
    that templates know for it."""
    reasoning = next((message[name] for name in REASONING if message.get(name) is not None), None)
    if reasoning is not None:
        message = {"thinking": reasoning, **message, "reasoning_content": reasoning}
    read = {"content": _joined, "tool_calls": with_parsed_arguments}
    return {
        _copied(key): str.__str__(value) if key == "role" else _copied(read[key](value) if key in read else value)
        for key, value in message.items()
    }


def _joined(content: Any) -> Any:
    """The text of a list of text parts; any other content as it is."""
    if not isinstance(content, list) or not content:
        return content
    texts = [part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None for part in content]
    known = [text for text in texts if isinstance(text, str)]
    return "".join(known) if len(known) == len(texts) else content


def _copied(value: Any, depth: int = 0) -> Any:
    """A copy of a JSON-like value whose strings, keys included, are typed."""
    if depth > 64:
        raise ArgumentError("A message is nested more than 64 levels deep.")
    if isinstance(value, str):
        return typed(value)
    if isinstance(value, Mapping):
        return {_copied(key, depth + 1): _copied(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item, depth + 1) for item in value]
    if isinstance(value, tuple):
        return tuple(_copied(item, depth + 1) for item in value)
    if value is None or isinstance(value, bool | int | float):
        return value
    raise ArgumentError(f"A message holds a {type(value).__name__}; texts, numbers, lists and mappings can be sent.")
