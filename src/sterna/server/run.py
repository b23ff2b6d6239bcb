"""Runs a server until it is told to stop."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence

import uvicorn

from sterna.engine.options import EngineOptions
from sterna.files.embedded import EMBEDDED_NAME
from sterna.server.app import create_app
from sterna.server.known import known_models
from sterna.server.models import Models
from sterna.server.settings import Settings


def run(models: Sequence[str], options: EngineOptions, settings: Settings) -> None:
    """Serves models, the embedded one where none is named, until SIGINT or SIGTERM. Raises as `known_models`."""
    known = Models(known_models(models or [EMBEDDED_NAME]), options)
    _Server(configuration(known, settings)).run()


def configuration(models: Models, settings: Settings) -> uvicorn.Config:
    """uvicorn's settings for serving `models`."""
    return uvicorn.Config(
        create_app(models, settings),
        host=settings.host,
        port=settings.port,
        uds=None if settings.unix is None else str(settings.unix),
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        http="httptools",
        ws="none",
        server_header=False,
        access_log=False,
        log_level="warning",
    )


class _Server(uvicorn.Server):
    """Says where it listens, once it does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for server in self.servers:
            for each in server.sockets:
                print(f"Serving at {_address(each, self.config)}", file=sys.stderr, flush=True)


def _address(listening: socket.socket, config: uvicorn.Config) -> str:
    name = listening.getsockname()
    if isinstance(name, str):
        return name
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{'https' if config.is_ssl else 'http'}://{host}:{name[1]}"
