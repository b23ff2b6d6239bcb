"""uvicorn's protocol with an end to its patience."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 128 << 10
"""The longest head of a request."""


def impatient(seconds: float) -> type[HttpToolsProtocol]:
    """A protocol that closes a connection whose client takes more than `seconds` to send the head of a request, or to
    take any of the reply that waits for it; or whose heads are longer than `HEAD_BYTES`."""

    class Impatient(HttpToolsProtocol):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self._head, self._reply = _Alarm(self._give_up, seconds), _Alarm(self._give_up, seconds)
            self._head_bytes = 0

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._head.set()

        def connection_lost(self, exc: Exception | None) -> None:
            self._head.stop()
            self._reply.stop()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._head.is_set:
                self._head_bytes += len(data)
            super().data_received(data)  # where it has the end of the head, the rest is the body's
            if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The head of the request is too long.")

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._head.set()

        def on_headers_complete(self) -> None:
            self._head.stop()
            self._head_bytes = 0
            super().on_headers_complete()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._reply.set()

        def resume_writing(self) -> None:
            super().resume_writing()
            self._reply.stop()

        def _give_up(self) -> None:
            self.transport.abort()

    return Impatient


class _Alarm:
    """Calls a function after some seconds, unless it is stopped before."""

    def __init__(self, ring: Callable[[], None], seconds: float) -> None:
        self._ring, self._seconds = ring, seconds
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_set(self) -> bool:
        return self._timer is not None

    def set(self) -> None:
        """Starts it; one that is set goes on."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._ring)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
