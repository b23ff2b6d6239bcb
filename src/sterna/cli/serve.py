"""`sterna serve`: models for the clients of other APIs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sterna.cli.options import MODEL_HELP, complete_model, with_flags
from sterna.engine.options import EngineOptions


@with_flags()
def serve(
    *,
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]...", help=MODEL_HELP, show_default=False, autocompletion=complete_model),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="The address to listen at; 0.0.0.0: all of this machine.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="11434 is where tools look for Ollama.")] = 8080,
    unix: Annotated[
        Path | None,
        typer.Option("--unix", metavar="PATH", help="A Unix socket instead of a port.", show_default=False),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", metavar="FILE", help="Serve HTTPS.", show_default=False)
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", metavar="FILE", help="The certificate's key.", show_default=False)
    ] = None,
    options: EngineOptions,
) -> None:
    """Serve models over HTTP, as OpenAI does."""
    from sterna.server.run import run
    from sterna.server.settings import Settings

    run(models or [], options, Settings(host=host, port=port, unix=unix, tls_cert=tls_cert, tls_key=tls_key))
