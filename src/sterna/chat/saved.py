"""Conversations in files: JSON with the messages as OpenAI's chat API takes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sterna.chat.conversation import Conversation, Message
from sterna.errors import ArgumentError, FormatError, NotFoundError
from sterna.files.atomic import atomic_write
from sterna.files.regular import open_regular
from sterna.files.text import whole_characters

MAX_BYTES = 1 << 26
"""More than any context holds."""
SYSTEM_ROLES = ("system", "developer")


def save(conversation: Conversation, path: Path, model: str) -> None:
    """Writes `{"model": ..., "messages": [{"role", "content"}, ...]}`.

    Raises `ArgumentError` where there is nothing to save, and where `path` is a file that holds no conversation, so
    that no other file is lost; OSError where it cannot be written.
    """
    if not conversation.everything():
        raise ArgumentError("There is nothing to save: the conversation is empty.")
    if path.exists():
        try:
            load(path)
        except (FormatError, NotFoundError):
            raise ArgumentError(f"{path} exists and is no saved conversation; choose another name.") from None
    text = json.dumps({"model": model, "messages": conversation.everything()}, ensure_ascii=False, indent=1)
    with atomic_write(path) as file:
        file.write(text.encode() + b"\n")


def load(path: Path) -> Conversation:
    """Reads what `save` wrote, or a bare list of messages.

    Raises `NotFoundError` for a file that cannot be read, `FormatError` for one that holds no conversation.
    """
    with open_regular(path) as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise FormatError(f"{path} is no saved conversation: it is larger than any context.")
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise FormatError(f"{path} is no saved conversation: it is no JSON.") from None
    messages = value.get("messages") if isinstance(value, dict) else value
    if not isinstance(messages, list) or not messages:
        raise FormatError(f"{path} is no saved conversation: it has no list of messages.")
    checked = [_message(message, path, at) for at, message in enumerate(messages, start=1)]
    first = checked[0]["role"] in SYSTEM_ROLES
    for at, message in enumerate(checked[first:], start=1 + first):
        if message["role"] in SYSTEM_ROLES:
            raise FormatError(f"Message {at} of {path} has the role system; only the first message can have it.")
    return Conversation(checked[0]["content"] if first else None, checked[first:])


def _message(value: Any, path: Path, at: int) -> Message:
    if not isinstance(value, dict) or not isinstance(value.get("content"), str):
        raise FormatError(f"Message {at} of {path} has no text as its content.")
    if value.get("role") not in ("user", "assistant", *SYSTEM_ROLES):
        raise FormatError(f"Message {at} of {path} has another role than system, user and assistant.")
    message = {"role": value["role"], "content": whole_characters(value["content"])}
    if isinstance(value.get("reasoning_content"), str):
        message["reasoning_content"] = whole_characters(value["reasoning_content"])
    return message
