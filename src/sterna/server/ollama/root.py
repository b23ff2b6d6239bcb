"""`/`, by which Ollama's clients see whether a server is there."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

router = APIRouter()


@router.api_route("/", methods=["GET", "HEAD"])
async def root() -> Response:
    """What Ollama says there."""
    return PlainTextResponse("Ollama is running")
