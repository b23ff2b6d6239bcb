"""JSON as the server writes it."""

from __future__ import annotations

import json
from typing import Any


def json_bytes(value: Any) -> bytes:
    """Compact JSON in UTF-8. Half a surrogate pair, which a request may smuggle into a text, becomes `?`."""
    return _encode(value).encode("utf-8", "replace")


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
