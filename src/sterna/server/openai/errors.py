"""Errors as OpenAI's API words them."""

from __future__ import annotations

from typing import Any

from sterna.server.errors import ApiError
from sterna.server.sse import sse

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    503: "unavailable_error",
}
"""By status; any other is `invalid_request_error` below 500 and `server_error` above."""


def error_body(error: ApiError) -> dict[str, Any]:
    """The body of an error."""
    kind = _TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}


def error_event(error: ApiError) -> bytes:
    """The event with which a stream breaks off."""
    return sse(error_body(error))
