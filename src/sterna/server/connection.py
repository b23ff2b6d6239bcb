"""What every request goes through: its body is read within limits, and it ends when the client goes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sterna.server.errors import ApiError, api_error

BODY_RATE = 16 << 10
"""Bytes a second of the slowest body that is waited for."""

DRAINED = 8
"""So many times the largest body are read of one that is too large, and thrown away."""


class Connection:
    """Middleware that reads the body of a request, runs the app as long as the client is there, and tells its errors.

    A client that leaves cancels the app's task, wherever that is: in the queue, in a prompt, between two pieces, or
    before a reply that is no stream.
    """

    def __init__(
        self, app: ASGIApp, body_bytes: int, body_seconds: float, refusal: Callable[[str, ApiError], ASGIApp]
    ) -> None:
        """`body_bytes`: of the largest body; `body_seconds`: most that a body takes, with one more for each `BODY_RATE`
        bytes. `refusal` makes the reply to a path that tells an error."""
        self._app, self._refusal = app, refusal
        self._body_bytes, self._body_seconds = body_bytes, body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await self._run(scope, receive, send)
        except Exception as error:
            # Told here and not by the framework, which would close the connection under the client's next request.
            if not isinstance(error, ApiError):
                logging.getLogger(__name__).exception("%s %s failed.", scope["method"], scope["path"])
            await self._refusal(scope["path"], api_error(error))(scope, receive, send)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await self._body(receive)
        if body is None:
            return
        if body:
            # A body is JSON whatever its header says: curl -d calls it a form.
            others = [header for header in scope["headers"] if header[0] != b"content-type"]
            scope = {**scope, "headers": [*others, (b"content-type", b"application/json")]}
        replied = False

        async def reply(message: Message) -> None:
            nonlocal replied
            replied = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        # After the reply uvicorn sends `http.disconnect` whether the client left or not; the app may still be
        # cleaning up.
        async with _while_connected(receive, lambda: not replied):
            await self._app(scope, _replay(body), reply)

    async def _body(self, receive: Receive) -> bytes | None:
        """The whole body; None where the client left in the middle. Raises `ApiError` for one that is too large, or too
        slow."""
        parts, size, begun = [], 0, time.monotonic()
        while True:
            left = begun + self._body_seconds + size / BODY_RATE - time.monotonic()
            try:
                message = await asyncio.wait_for(receive(), max(left, 0))
            except asyncio.TimeoutError:
                raise ApiError(408, "The body did not come in time.", headers={"Connection": "close"}) from None
            if message["type"] == "http.disconnect":
                return None
            part = message.get("body", b"")
            size += len(part)
            if size <= self._body_bytes:
                parts.append(part)
            else:
                parts.clear()
            more = message.get("more_body", False)
            # What is too large is read on for a while: a client that is still sending might not see the reply.
            if size > self._body_bytes and (not more or size > DRAINED * self._body_bytes):
                raise ApiError(
                    413, f"The body has more than {self._body_bytes} bytes.", headers={"Connection": "close"}
                )
            if not more:
                return b"".join(parts)


@asynccontextmanager
async def _while_connected(receive: Receive, still_needed: Callable[[], bool]) -> AsyncIterator[None]:
    """Cancels the block when the client leaves, while its result is still needed."""
    task = asyncio.current_task()
    assert task is not None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        if still_needed():
            gone = True
            task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not gone:
            raise
    finally:
        watcher.cancel()


def _replay(body: bytes) -> Receive:
    """Gives the app the body that was read; then there is nothing more."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await asyncio.get_running_loop().create_future()
        raise AssertionError("Nobody ends this wait but a cancellation.")

    return receive
