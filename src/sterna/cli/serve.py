"""`sterna serve`: models for the clients of other APIs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from sterna.cli.options import MODEL_HELP, complete_model, value_flag, with_flags
from sterna.engine.checks import Number, Whole
from sterna.engine.options import EngineOptions
from sterna.server.units import Duration, Size


@with_flags()
def serve(
    *,
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]...", help=MODEL_HELP, autocompletion=complete_model),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="The address to listen at; 0.0.0.0: all of this machine.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, value_flag(Whole(0, 65535), "--port", help="11434 is where tools look for Ollama.")] = 8080,
    unix: Annotated[
        Path | None,
        typer.Option("--unix", metavar="PATH", help="A Unix socket instead of a port."),
    ] = None,
    memory: Annotated[
        int | None,
        value_flag(Size(), "--memory", help="Most memory for all models; default: four fifths of what is available."),
    ] = None,
    pin: Annotated[
        list[str] | None,
        typer.Option("--pin", metavar="NAME", help="A model that is never unloaded; may be repeated."),
    ] = None,
    keep_alive: Annotated[
        Any,
        value_flag(
            Duration(), "--keep-alive", help="How long a model stays loaded after its last request; -1: always."
        ),
    ] = 300.0,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            "--api-key-file",
            metavar="FILE",
            help="Keys, one a line, of which each request needs one; also: STERNA_API_KEY.",
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option("--allow-origin", metavar="URL", help="A web site whose scripts may use the server; *: all."),
    ] = None,
    queue: Annotated[
        int, value_flag(Whole(1), "--queue", help="Most requests that run or wait; more get the status 429.")
    ] = 512,
    deadline: Annotated[
        float | None,
        value_flag(Duration(), "--deadline", help="How long one answer may take; default: as long as it takes."),
    ] = None,
    grace: Annotated[
        float, value_flag(Number(least=0, most=86400), "--grace", help="Seconds that requests have left after SIGTERM.")
    ] = 30.0,
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", metavar="FILE", help="Serve HTTPS.")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="The certificate's key.")] = None,
    files: Annotated[
        Path | None,
        typer.Option(
            "--files",
            metavar="DIR",
            help="Where files and batches outlive the server; default: a temporary folder.",
        ),
    ] = None,
    files_ttl: Annotated[
        Any,
        value_flag(
            Duration(),
            "--files-ttl",
            help="How long files are kept, and batches that have ended; default: 30 days; -1: for ever.",
            show_default=False,
        ),
    ] = 30 * 86400.0,
    files_quota: Annotated[
        int, value_flag(Size(), "--files-quota", help="Most bytes of all files; default: 10GB.", show_default=False)
    ] = 10_000_000_000,
    file_size: Annotated[
        int,
        value_flag(Size(), "--file-size", help="Most bytes of an uploaded file; default: 200MB.", show_default=False),
    ] = 200_000_000,
    lora: Annotated[
        list[str] | None,
        typer.Option(
            "--lora", metavar="NAME=PATH", help="An adapter of the first model, served as MODEL:NAME; may be repeated."
        ),
    ] = None,
    options: EngineOptions,
) -> None:
    """Serve models over HTTP, as OpenAI does.

    The models of the cache are served too, when a request names them.
    """
    from sterna.engine.machine import available_memory
    from sterna.jobs import Limits, jobs
    from sterna.server.gate import read_keys
    from sterna.server.run import run
    from sterna.server.served import Policy
    from sterna.server.settings import Settings

    available = available_memory()
    if memory is None and available is not None:
        memory = available * 4 // 5
    policy = Policy(
        memory=memory,
        keep_alive=keep_alive,
        pinned=tuple(pin or ()),
        deadline=None if deadline is None or math.isinf(deadline) else deadline,
    )
    settings = Settings(
        host=host,
        port=port,
        unix=unix,
        tls_cert=tls_cert,
        tls_key=tls_key,
        api_keys=read_keys(api_key_file),
        allow_origins=tuple(allow_origin or ()),
        queue=queue,
        grace=grace,
    )
    limits = Limits(folder=files, seconds=files_ttl, file_bytes=file_size, all_bytes=files_quota)
    run(models or [], options, policy, settings, [jobs(limits)], lora or [])
