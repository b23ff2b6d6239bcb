"""What those ask who watch over a server: does it live, can it answer, how is it doing."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from sterna.server.dialect import KnownModels
from sterna.server.json_reply import Json
from sterna.server.metrics import CONTENT_TYPE

router = APIRouter(tags=["operations"])


@router.get("/health")
async def health() -> Response:
    """200 as soon as the server listens, whatever it is loading. The only address that needs no key."""
    return Json({"status": "ok"})


@router.get("/ready")
async def ready(models: KnownModels) -> Response:
    """200 where the first model is loaded, else 503."""
    if models.ready:
        return Json({"status": "ready"})
    status = "stopping" if models.stopping else "loading"
    return Json({"status": status}, status_code=503, headers={"Retry-After": "1"})


@router.get("/metrics")
async def metrics(models: KnownModels) -> Response:
    """Numbers in Prometheus' text format."""
    return Response(models.metrics.text(), headers={"Content-Type": CONTENT_TYPE})
