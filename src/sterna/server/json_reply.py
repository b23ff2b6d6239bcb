"""A reply in JSON."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from sterna.server.json_text import json_bytes


class Json(Response):
    """A reply in JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json_bytes(content)
