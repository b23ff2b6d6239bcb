"""Conversations to prompts: the model's own Jinja template, rendered so that no message can forge a special token.

A mark, a character that neither the template nor any message contains, is put into every part of a message that could
become (a part of) a special token. Templates may then trim, split and concatenate messages as they like: only a special
token that the template itself wrote has no mark in the rendered prompt. The marks are taken out at the end.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sterna.errors import ArgumentError

ROLES = frozenset(("system", "developer", "user", "assistant", "tool", "function", "ipython"))
"""The known roles. A role is no free text, because templates build special tokens from it (`<|user|>`)."""

FALLBACK_TEMPLATE_NAME = "plain"
FALLBACK_TEMPLATE = (
    "{% for message in messages %}"
    "{{ message['role'] | capitalize }}: {{ (message['content'] or '') | trim }}\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""For models without a template: one line a message, no special tokens, so that it fits every vocabulary."""

# Noncharacters and private-use characters: ordinary text has none of them, and they are so many that one is free.
_MARKS = [chr(code) for code in (*range(0xFDD0, 0xFDF0), *range(0xF0000, 0xF0100))]


@dataclass(frozen=True)
class Prompt:
    """A rendered conversation whose `text` still has the marks in it."""

    text: str
    mark: str

    def unmark(self, text: str) -> str:
        """A part of `text` as the tokenizer should read it."""
        return text.replace(self.mark, "")


def render(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    special: Collection[str] = (),
    add_generation_prompt: bool = True,
    variables: Mapping[str, str] | None = None,
) -> Prompt:
    """Renders `messages` ({"role", "content"} and what else a template reads) with `template`.

    `special` are the vocabulary's special tokens, `variables` what else the template sees (`bos_token`, `eos_token`).
    Raises ArgumentError for messages that are malformed or that the template refuses, FormatError for a template that
    does not work, breaks the rules of the sandbox or needs too much time or memory.
    """
    from sterna.model.chat.sandbox import run

    _check(messages)
    mark = _free_mark(template, messages)
    protect = partial(_protect, marker=_Marker(special, template, mark))
    guarded = [
        {key: value if key == "role" else _map_strings(value, protect) for key, value in message.items()}
        for message in messages
    ]
    given = {
        **(variables or {}),
        "messages": guarded,
        "add_generation_prompt": add_generation_prompt,
        "strftime_now": lambda form: datetime.now().strftime(form[:100]),
    }
    return Prompt(run(template, given), mark)


def _check(messages: Sequence[Mapping[str, Any]]) -> None:
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence) or not messages:
        raise ArgumentError("A conversation is a list of at least one message.")
    for message in messages:
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str | list | None):
            raise ArgumentError('A message is a mapping such as {"role": "user", "content": "text"}.')
        if message.get("role") not in ROLES:
            raise ArgumentError(f"The role of a message is one of {', '.join(sorted(ROLES))}.")


class _Marker:
    """Marks the places where a message could be (a part of) a special token."""

    def __init__(self, special: Collection[str], template: str, mark: str) -> None:
        self.special, self.mark = special, mark
        first, last = {token[0] for token in special if token}, {token[-1] for token in special if token}
        # Ordinary tags that the template itself looks for in messages (`</think>`) have to stay as they are.
        tags = {
            tag
            for tag in re.findall(r"</?\w{1,30}>", template)
            if not any(tag in token or token in tag for token in special)
        }
        parts = ("|".join(map(re.escape, sorted(tags))), _one_of(first | last))
        self.pattern = re.compile(f"({parts[0] or '(?!)'})|({parts[1]})")
        self.first, self.last = first, last

    def replace(self, found: re.Match[str]) -> str:
        """Separates the first character of a special token from the text after it, and the last from the text before
        it."""
        tag, character = found.groups()
        if tag is not None:
            return tag
        before = self.mark if character in self.last else ""
        after = self.mark if character in self.first else ""
        return before + character + after


def _protect(text: str, marker: _Marker) -> str:
    inner = text.strip()
    if inner and any(inner in token for token in marker.special):
        # The template may put the rest of a special token around the text.
        text = text.replace(inner, inner[0] + marker.mark + inner[1:], 1)
    return marker.pattern.sub(marker.replace, text)


def _one_of(characters: Collection[str]) -> str:
    return "|".join(re.escape(character) for character in sorted(characters)) or "(?!)"


def _free_mark(template: str, messages: object) -> str:
    used = set(template)
    _map_strings(messages, used.update)
    mark = next((mark for mark in _MARKS if mark not in used), None)
    if mark is None:
        raise ArgumentError("The messages use every noncharacter of Unicode; take some of them out.")
    return mark


def _map_strings(value: Any, function: Any, depth: int = 0) -> Any:
    """A copy of a JSON-like value with `function` applied to each string in it, keys included."""
    if depth > 64:
        raise ArgumentError("A message is nested more than 64 levels deep.")
    if isinstance(value, str):
        return function(value)
    if isinstance(value, Mapping):
        return {_map_strings(k, function, depth + 1): _map_strings(v, function, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_map_strings(item, function, depth + 1) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    raise ArgumentError(f"A message holds a {type(value).__name__}; texts, numbers, lists and mappings can be sent.")
