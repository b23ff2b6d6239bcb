"""What the web framework raises, as the server's own error."""

from __future__ import annotations

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from sterna.server.errors import NO_JSON, ApiError, api_error, invalid_fields

_SENTENCES = {
    404: "There is nothing at this address; docs/serve.md lists the addresses.",
    405: "This address does not take this method.",
    400: NO_JSON,
}


def http_error(error: BaseException) -> ApiError:
    """What a client is told of any exception."""
    match error:
        case RequestValidationError():
            return invalid_fields([{**each, "loc": each["loc"][1:]} for each in error.errors()])
        case HTTPException():
            return ApiError(error.status_code, _SENTENCES.get(error.status_code, error.detail), headers=error.headers)
    return api_error(error)
