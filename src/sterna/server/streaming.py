"""Replies that send chunks as they come."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sterna.errors import SternaError
from sterna.server.errors import ApiError, api_error
from sterna.server.sse import Chunks

log = logging.getLogger("sterna.server")


async def streamed(
    chunks: Chunks, failed: Callable[[ApiError], bytes], media_type: str = "text/event-stream"
) -> Response:
    """A reply that sends chunks as they come, each in one write. What `chunks` raises before the first one is raised
    here, so that it has a status of its own; what it raises later becomes the last chunk, made by `failed`."""
    first = await anext(chunks)
    return _Stream(first, chunks, failed, media_type)


class _Stream(Response):
    def __init__(self, first: bytes, chunks: Chunks, failed: Callable[[ApiError], bytes], media_type: str) -> None:
        self._first, self._chunks, self._failed = first, chunks, failed
        super().__init__(media_type=media_type, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._chunks):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for chunk in self._guarded():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _guarded(self) -> Chunks:
        yield self._first
        try:
            async for chunk in self._chunks:
                yield chunk
        except Exception as error:
            told = api_error(error)
            if told.status >= 500:
                expected = isinstance(error, ApiError | SternaError)
                log.warning("a stream broke off: %s", told.message, exc_info=None if expected else error)
            yield self._failed(told)
