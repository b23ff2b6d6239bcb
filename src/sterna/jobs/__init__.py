"""`/v1/files` and `/v1/batches` of `sterna serve`: files that clients upload, and batches over them (docs/batch.md)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter

from sterna.jobs import batch_routes, file_routes
from sterna.jobs.batches import Batches
from sterna.jobs.files import Files
from sterna.jobs.limits import Limits
from sterna.server.extension import Extension
from sterna.server.models import Models

__all__ = ["Limits", "jobs"]


@asynccontextmanager
async def _running(files: Files, batches: Batches, models: Models) -> AsyncIterator[None]:
    batches.start(models)
    try:
        yield
    finally:
        await batches.close()
        files.close()


def jobs(limits: Limits) -> Extension:
    """The extension of a server. Raises `ArgumentError` where another server has the folder, OSError."""
    files = Files(limits)
    batches = Batches(files, limits)
    router = APIRouter(prefix="/v1", tags=["OpenAI"])
    router.include_router(file_routes.router(files))
    router.include_router(batch_routes.router(batches))
    return Extension(router, lambda models: _running(files, batches, models), uploads=("/v1/files",))
