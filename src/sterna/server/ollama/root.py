"""`/`, by which Ollama's clients see whether a server is there. Browsers get the page instead (`server/page`)."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

router = APIRouter()


@router.get("/")
@router.head("/", include_in_schema=False)
async def root() -> Response:
    """What Ollama says there."""
    return PlainTextResponse("Ollama is running", headers={"Vary": "Accept"})
