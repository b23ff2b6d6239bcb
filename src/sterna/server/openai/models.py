"""`/v1/models`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from sterna.server.dialect import KnownModels
from sterna.server.json_reply import Json
from sterna.server.known import Known

router = APIRouter(prefix="/models")


@router.get("")
async def list_models(models: KnownModels) -> Response:
    """All known models, loaded or not."""
    return Json({"object": "list", "data": [_model(known) for known in models.known()]})


@router.get("/{name:path}")
async def show_model(name: str, models: KnownModels) -> Response:
    """One known model."""
    return Json(_model(models.find(name)))


def _model(known: Known) -> dict[str, Any]:
    return {"id": known.name, "object": "model", "created": known.created, "owned_by": "sterna"}
