"""Errors as Anthropic's API words them."""

from __future__ import annotations

from typing import Any

from sterna.server.errors import ApiError
from sterna.server.sse import sse

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""By status; any other is `invalid_request_error` below 500 and `api_error` above."""


def error_body(error: ApiError) -> dict[str, Any]:
    """The body of an error."""
    kind = _TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": error.message}}


def error_event(error: ApiError) -> bytes:
    """The event with which a stream breaks off."""
    return sse(error_body(error), "error")
