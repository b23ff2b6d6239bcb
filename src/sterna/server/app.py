"""The application: the dialects over the known models."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response

from sterna import __version__
from sterna.errors import SternaError
from sterna.server import health
from sterna.server.admission import Admission
from sterna.server.anthropic import ANTHROPIC
from sterna.server.connection import Connection
from sterna.server.dialect import Dialect
from sterna.server.errors import ApiError
from sterna.server.extension import Extension
from sterna.server.gate import Gate
from sterna.server.http_errors import http_error
from sterna.server.journal import Journal
from sterna.server.json_reply import Json
from sterna.server.llama_server import LLAMA_SERVER
from sterna.server.models import Models
from sterna.server.ollama import OLLAMA
from sterna.server.openai.dialect import OPENAI
from sterna.server.page import Page
from sterna.server.settings import Settings

DIALECTS: tuple[Dialect, ...] = (OPENAI, ANTHROPIC, OLLAMA, LLAMA_SERVER)
"""At addresses that belong to none of them, errors have the form of the first."""


_REFUSALS = {
    400: "The request is not valid.",
    401: "The key is missing or wrong.",
    403: "The Host or Origin is not served, or the client may not do this.",
    404: "There is no such model.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    429: "Too many requests run or wait.",
    500: "The engine or the server failed.",
    502: "The hub cannot be reached.",
    503: "The model is being loaded, or was unloaded, or the server is stopping.",
    504: "The answer took too long.",
}
"""What any endpoint may answer instead of a result."""


def create_app(models: Models, settings: Settings, extensions: Sequence[Extension] = ()) -> FastAPI:
    """The application that serves `models`; it begins to load them when it starts, and frees them when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        models.start()
        async with AsyncExitStack() as stack:
            for extension in extensions:
                await stack.enter_async_context(extension.running(models))
            yield
        await models.close()

    @cache
    def paths() -> frozenset[str]:
        return frozenset(app.openapi()["paths"])

    app = FastAPI(
        title="Sterna",
        version=__version__,
        lifespan=lifespan,
        middleware=[  # the first is the outermost
            Middleware(Journal, replies=models.metrics.replies, paths=paths),
            Middleware(Gate, settings=settings, refusal=error_reply),
            Middleware(Page),
            Middleware(Admission, most=settings.queue, stopping=lambda: models.stopping, refusal=error_reply),
            Middleware(
                Connection,
                body_bytes=settings.body_bytes,
                body_seconds=settings.slow_seconds,
                uploads={path for extension in extensions for path in extension.uploads},
                refusal=error_reply,
            ),
        ],
        exception_handlers={kind: _tell for kind in (ApiError, SternaError, HTTPException, RequestValidationError)},
        docs_url=None,
        redoc_url=None,
    )
    app.state.models = models
    refusals: dict[int | str, dict[str, Any]] = {status: {"description": text} for status, text in _REFUSALS.items()}
    beside = (extension.router for extension in extensions)
    for router in (health.router, *(dialect.router for dialect in DIALECTS), *beside):
        app.include_router(router, responses=refusals)
    return app


def error_reply(path: str, error: ApiError) -> Response:
    """A reply that tells an error in the dialect of a path."""
    fits = [(len(prefix), dialect) for dialect in DIALECTS for prefix in dialect.prefixes if path.startswith(prefix)]
    dialect = max(fits, key=lambda fit: fit[0])[1] if fits else DIALECTS[0]
    return Json(dialect.error_body(error), status_code=error.status, headers=error.headers)


async def _tell(request: Request, error: Exception) -> Response:
    return error_reply(request.url.path, http_error(error))
