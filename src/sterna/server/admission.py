"""How many requests are taken on at one time."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from sterna.server.errors import ApiError


class Admission:
    """Middleware that refuses requests with a body while `most` of them run or wait, and all of them while the server
    is stopping. It comes before their bodies are read, so that a crowd takes no memory."""

    def __init__(
        self,
        app: ASGIApp,
        most: int,
        stopping: Callable[[], bool],
        refusal: Callable[[str, ApiError], ASGIApp],
    ) -> None:
        """`refusal` makes the reply to a path that tells an error."""
        self._app, self._most, self._stopping, self._refusal = app, most, stopping, refusal
        self._taken = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        error = None
        if self._stopping():
            error = ApiError(503, "The server is stopping.", code="stopping", retry_after=5)
        elif self._taken >= self._most:
            error = ApiError(
                429, f"{self._taken} requests run or wait; ask again later.", code="queue_full", retry_after=1
            )
        if error is not None:
            error.headers["Connection"] = "close"  # the body is not read
            await self._refusal(scope["path"], error)(scope, receive, send)
            return
        self._taken += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._taken -= 1
