"""Runs a server until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

import uvicorn

from sterna.engine.options import EngineOptions
from sterna.errors import ArgumentError, NotFoundError, UnsupportedError, warn
from sterna.files.embedded import EMBEDDED_NAME
from sterna.server.app import create_app
from sterna.server.extension import Extension
from sterna.server.gate import is_loopback
from sterna.server.journal import log_to_stderr
from sterna.server.known import cached_models, known_models, with_adapters
from sterna.server.models import Models
from sterna.server.protocol import impatient
from sterna.server.served import Policy
from sterna.server.settings import Settings

LAST_WORDS = 5
"""Seconds for which streams that were broken off may still send their last event."""

STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
"""Signals that stop the server; whichever the caller ignores (`nohup`) stays ignored."""

ECHO = 1.0
"""Seconds within which a second signal counts as the first one: terminals and launchers may send it twice."""


def run(
    models: Sequence[str],
    options: EngineOptions,
    policy: Policy,
    settings: Settings,
    extensions: Sequence[Extension] = (),
    adapters: Sequence[str] = (),
) -> None:
    """Serves models, the embedded one where none is named, until SIGINT or SIGTERM. `adapters` (`NAME=PATH`) are those
    of the first model. Raises as `known_models` and `with_adapters`, `ArgumentError` for settings that do not fit
    together, and `UnsupportedError` for a Unix socket on a system without them."""
    if settings.tls_key is not None and settings.tls_cert is None:
        raise ArgumentError("--tls-key is the key of a certificate; give --tls-cert as well.")
    if settings.unix is not None and not hasattr(socket, "AF_UNIX"):
        raise UnsupportedError("Python on this system has no Unix sockets; give --host and --port in place of --unix.")
    for file in (settings.tls_cert, settings.tls_key):
        if file is not None and not file.is_file():
            raise NotFoundError(f"{file} is no file; --tls-cert and --tls-key take PEM files.")
    log_to_stderr()
    first, *others = known_models(models or [EMBEDDED_NAME])
    given = [*with_adapters(first, adapters), *others]
    names = {each.name for each in given}
    cached = [each for each in cached_models() if each.name not in names]
    served = Models(given, options, policy, cached)
    if settings.unix is None and not settings.api_keys and not is_loopback(settings.host):
        warn(
            f"Everybody who can reach {settings.host} can use this server: give --api-key-file, or set STERNA_API_KEY."
        )
    Server(served, settings, extensions).run()


def configuration(models: Models, settings: Settings, extensions: Sequence[Extension] = ()) -> uvicorn.Config:
    """uvicorn's settings for serving `models`."""
    return uvicorn.Config(
        create_app(models, settings, extensions),
        host=settings.host,
        port=settings.port,
        uds=None if settings.unix is None else str(settings.unix),
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        http=impatient(settings.slow_seconds),
        ws="none",
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=round(settings.grace) + LAST_WORDS,
    )


class Server(uvicorn.Server):
    """Says where it listens, once it does. When it is told to stop, it takes no more requests; those that run may go on
    for `settings.grace` seconds, and are then broken off with an error event."""

    def __init__(self, models: Models, settings: Settings, extensions: Sequence[Extension] = ()) -> None:
        super().__init__(configuration(models, settings, extensions))
        self._models, self._grace = models, settings.grace
        self._told = asyncio.Event()
        self._first_signal: tuple[int, float] | None = None
        """Its number, and when it came: seconds of `time.monotonic`."""

    def stop(self) -> None:
        """Tells the server to stop, from any thread or from a signal."""
        self.should_exit = True
        if self.servers:
            self.servers[0].get_loop().call_soon_threadsafe(self._told.set)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stops the server; a second signal, some time later, ends the process at once."""
        now = time.monotonic()
        if self._first_signal is None:
            self._first_signal = sig, now
            self.stop()
        elif now - self._first_signal[1] > ECHO:
            os._exit(128 + sig)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """In the block signals are handled by `handle_exit`. In place of uvicorn's, which knows no SIGHUP and raises
        the signal again while the event loop runs."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in STOPS}
        handled = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
        for number in handled:
            signal.signal(number, self.handle_exit)
        try:
            yield
        finally:
            for number in handled:
                signal.signal(number, before[number])

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves until it is told to stop. A signal that told it then does what it does to any command."""
        super().run(sockets)
        if self._first_signal is not None:
            signal.raise_signal(self._first_signal[0])

    async def main_loop(self) -> None:
        """As uvicorn's, which wakes ten times a second to see whether it should stop."""
        while not await self.on_tick(0):
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._told.wait(), 1.0)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for server in self.servers:
            for each in server.sockets:
                print(_told(each, self.config), file=sys.stderr, flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._models.stopping = True
        breaking_off = asyncio.create_task(self._break_off())
        try:
            await super().shutdown(sockets)
        finally:
            breaking_off.cancel()

    async def _break_off(self) -> None:
        await asyncio.sleep(self._grace)
        await self._models.close()


def _told(listening: socket.socket, config: uvicorn.Config) -> str:
    """A line that says where the server listens, and where a browser on this machine finds the page. It ends with an
    address, for programs that start a server and read it."""
    name = listening.getsockname()
    if isinstance(name, str):
        return f"Serving at {name}"
    scheme, host = "https" if config.is_ssl else "http", f"[{name[0]}]" if ":" in name[0] else name[0]
    near = "localhost" if name[0] in ("0.0.0.0", "::") else host
    return f"Serving at {scheme}://{host}:{name[1]}; chat in a browser at {scheme}://{near}:{name[1]}"
