"""Checks of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sterna.errors import ArgumentError, ContextLengthError

Prompt = str | Sequence[int] | np.ndarray
"""Text, or token ids."""


def is_one_prompt(prompts: Any) -> bool:
    """Whether this is a text or a list of token ids, not a list of prompts. Raises `ArgumentError` for other types."""
    if isinstance(prompts, str):
        return True
    if not isinstance(prompts, (list, tuple, range, np.ndarray)):
        raise ArgumentError("Prompts must be text, a list of token ids, or a list of these.")
    return len(prompts) > 0 and _is_integer(prompts[0])


def checked_ids(token_ids: Any, vocab_size: int, context_length: int, room: int) -> list[int]:
    """Token ids as a list of ints. `room`: how many of them the context has room for.

    Raises `ArgumentError` for anything but a list of ids of the vocabulary, `ContextLengthError` for too many ids.
    """
    if not isinstance(token_ids, (list, tuple, range, np.ndarray)) or not all(map(_is_integer, token_ids)):
        raise ArgumentError("A prompt must be text or a list of token ids.")
    ids = [int(token) for token in token_ids]
    if not ids:
        raise ArgumentError("The prompt is empty, and this model has no token that begins a text.")
    if not all(0 <= token < vocab_size for token in ids):
        raise ArgumentError(f"A token id is outside the vocabulary of {vocab_size}.")
    if len(ids) > room:
        raise too_long(str(len(ids)), context_length, room)
    return ids


def too_long(tokens: str, context_length: int, room: int) -> ContextLengthError:
    """The error for a prompt of `tokens` tokens (a number in words), where the context has `room` for fewer."""
    return ContextLengthError(
        f"The prompt has {tokens} tokens, but the context of {context_length} has room for {room}; "
        "shorten the prompt or raise the context."
    )


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
