"""The one error of the server. Every dialect has its own body for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sterna.engine.loop import CLOSED
from sterna.errors import (
    ArgumentError,
    ContextLengthError,
    NetworkError,
    NotFoundError,
    OptionError,
    SternaError,
    UnsupportedError,
    shown,
)


class ApiError(Exception):
    """Why a request has no answer.

    `status`: the HTTP status, from which a dialect derives its own kind of error. `message`: one sentence. `param`: the
    field of the request that is wrong. `code`: a short word for programs, OpenAI's where it has one. `retry_after`:
    seconds after which the same request may have an answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.param, self.code, self.retry_after = param, code, retry_after
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)


def api_error(error: BaseException) -> ApiError:
    """What a client is told of any exception."""
    match error:
        case ApiError():
            return error
        case OptionError():
            return ApiError(400, str(error), param=error.option)
        case ContextLengthError():
            return ApiError(400, str(error), code="context_length_exceeded")
        case UnsupportedError() if str(error) == CLOSED:
            return ApiError(503, "The model was unloaded; ask again.", code="model_unloaded", retry_after=1)
        case ArgumentError() | UnsupportedError():
            return ApiError(400, str(error))
        case NetworkError():
            return ApiError(502, str(error), code="hub_unreachable")
        case NotFoundError():
            return ApiError(404, str(error), code="not_found")
        case SternaError():
            return ApiError(500, str(error))
    return ApiError(500, f"Something that should not happen did: {type(error).__name__}. Please report it.")


NO_JSON = "The body is no valid JSON."


def invalid_fields(errors: Sequence[Mapping[str, Any]]) -> ApiError:
    """The first of pydantic's errors, as a sentence that names the field."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return ApiError(400, NO_JSON)
    if not first["loc"]:
        return ApiError(400, "The body is no JSON object.")
    field = str(first["loc"][0])
    if first["type"] == "missing":
        return ApiError(400, f"The field {field} is missing.", param=field)
    return ApiError(400, f"{field} is not valid: {first['msg']}, not {shown(first['input'])}.", param=field)
