"""What every request goes through: its body is read within limits, and it ends when the client goes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
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
        self,
        app: ASGIApp,
        body_bytes: int,
        body_seconds: float,
        refusal: Callable[[str, ApiError], ASGIApp],
        uploads: Collection[str] = (),
    ) -> None:
        """`body_bytes`: of the largest body; `body_seconds`: most that a body takes, with one more for each `BODY_RATE`
        bytes. `refusal` makes the reply to a path that tells an error. `uploads`: paths whose bodies the app reads
        itself, whatever their size."""
        self._app, self._refusal, self._uploads = app, refusal, uploads
        self._body_bytes, self._body_seconds = body_bytes, body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(receive, self._body_seconds)
        try:
            if scope["method"] == "POST" and scope["path"] in self._uploads:
                await self._app(scope, body.receive, self._after_upload(body, send))
            else:
                await self._run(scope, body, receive, send)
        except ClientDisconnect:  # in the middle of an upload
            pass
        except Exception as error:
            # Told here and not by the framework, which would close the connection under the client's next request.
            if not isinstance(error, ApiError):
                logging.getLogger(__name__).exception("%s %s failed.", scope["method"], scope["path"])
            await self._refusal(scope["path"], api_error(error))(scope, receive, send)

    async def _run(self, scope: Scope, body: _Body, receive: Receive, send: Send) -> None:
        data = await self._whole(body)
        if data is None:
            return
        if data:
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
            await self._app(scope, _replay(data), reply)

    async def _whole(self, body: _Body) -> bytes | None:
        """The whole body; None where the client left in the middle. Raises `ApiError` for one that is too large, or too
        slow."""
        parts: list[bytes] = []
        while body.more:
            message = await body.receive()
            if message["type"] == "http.disconnect":
                return None
            if body.size <= self._body_bytes:
                parts.append(message.get("body", b""))
            else:
                parts.clear()
            # What is too large is read on for a while: a client that is still sending might not see the reply.
            if body.size > self._body_bytes and (not body.more or body.size > DRAINED * self._body_bytes):
                raise ApiError(
                    413, f"The body has more than {self._body_bytes} bytes.", headers={"Connection": "close"}
                )
        return b"".join(parts)

    def _after_upload(self, body: _Body, send: Send) -> Send:
        """Sends a reply when the upload has been read. Of one that the app refused in the middle the rest is thrown
        away, as far as that is not too much."""

        async def reply(message: Message) -> None:
            if message["type"] == "http.response.start" and body.more:
                most = body.size + DRAINED * self._body_bytes
                try:
                    while body.more and body.size < most:
                        await body.receive()
                except ApiError:  # too slow
                    pass
                if body.more:
                    MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        return reply


class _Body:
    """The body of a request while it comes."""

    def __init__(self, receive: Receive, seconds: float) -> None:
        self._receive, self._seconds, self._begun = receive, seconds, time.monotonic()
        self.size = 0
        """Bytes that have come."""
        self.more = True
        """Whether there may be more."""

    async def receive(self) -> Message:
        """The next piece, or `http.disconnect`. Raises `ApiError` where it does not come in time."""
        if not self.more:
            return await self._receive()
        left = self._begun + self._seconds + self.size / BODY_RATE - time.monotonic()
        try:
            message = await asyncio.wait_for(self._receive(), max(left, 0))
        except asyncio.TimeoutError:
            raise ApiError(408, "The body did not come in time.", headers={"Connection": "close"}) from None
        self.size += len(message.get("body", b""))
        self.more = message["type"] == "http.request" and message.get("more_body", False)
        return message


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
