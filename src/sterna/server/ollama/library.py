"""Models come, get a second name, and go: `/api/pull`, `/api/copy`, `/api/delete`."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Depends
from starlette.responses import Response

from sterna.files.hub.download import Downloaded
from sterna.server.body import Body
from sterna.server.dialect import KnownModels
from sterna.server.errors import ApiError
from sterna.server.gate import owner_only
from sterna.server.json_reply import Json
from sterna.server.models import Models
from sterna.server.ollama.names import LATEST, NamedBody, untagged
from sterna.server.ollama.reply import NDJSON, error_line, line
from sterna.server.sse import Chunks
from sterna.server.streaming import streamed

router = APIRouter()

_OWNER = [Depends(owner_only)]


class Pull(NamedBody):
    """The body of a request."""

    stream: bool = True


@router.post("/pull", dependencies=_OWNER)
async def pull(body: Pull, models: KnownModels) -> Response:
    """Downloads a model of the hub, or brings it up to date: a well-known name, or ORG/REPO."""
    name = (body.named() or "").removesuffix(LATEST)
    if body.stream:
        return await streamed(_progress(models, name), error_line, NDJSON)
    await models.pull(name)
    return Json({"status": "success"})


async def _progress(models: Models, name: str) -> Chunks:
    loop, steps = asyncio.get_running_loop(), asyncio.Queue[Downloaded | None]()

    def tell(step: Downloaded) -> None:
        loop.call_soon_threadsafe(steps.put_nowait, step)

    task = asyncio.create_task(models.pull(name, tell))
    task.add_done_callback(lambda _: steps.put_nowait(None))
    yield line({"status": "pulling manifest"})
    while (step := await steps.get()) is not None:
        yield line(_step(step))
    await task
    yield line({"status": "success"})


def _step(step: Downloaded) -> dict[str, str | int]:
    return {"status": f"pulling {step.name}", "digest": step.digest, "total": step.total, "completed": step.bytes}


class Copy(Body):
    """The body of a request."""

    source: str
    destination: str


@router.post("/copy", dependencies=_OWNER)
async def copy(body: Copy, models: KnownModels) -> Response:
    """Gives a model a second name, until the server ends."""
    models.copy(untagged(models, body.source) or "", body.destination.removesuffix(LATEST))
    return Response()


@router.delete("/delete", dependencies=_OWNER)
async def delete(body: NamedBody, models: KnownModels) -> Response:
    """Removes a model from the cache. One that was given at the start stays."""
    await models.delete(body.known_name(models) or "")
    return Response()


_NOT_HERE: dict[int | str, dict[str, Any]] = {501: {"description": "This server does not do that."}}


@router.post("/create", responses=_NOT_HERE)
@router.post("/push", responses=_NOT_HERE)
@router.post("/blobs/{digest}", responses=_NOT_HERE)
@router.head("/blobs/{digest}", include_in_schema=False)
async def not_here() -> Response:
    """What this server does not do."""
    raise ApiError(501, "This server makes and sends no models; `sterna convert` makes them.")
