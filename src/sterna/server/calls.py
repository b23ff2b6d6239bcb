"""The arguments of tools' calls in dialects that have them as objects."""

from __future__ import annotations

import json
from typing import Any


def object_of(arguments: str) -> dict[str, Any] | None:
    """The object whose JSON text a call's arguments are; a call without arguments has an empty one. None for a text
    that is no JSON object, such as that of a call that was broken off."""
    try:
        value = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
