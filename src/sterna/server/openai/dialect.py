"""The addresses of OpenAI's API."""

from __future__ import annotations

from fastapi import APIRouter

from sterna.server.dialect import Dialect
from sterna.server.openai import chat, completions, embeddings, models, responses
from sterna.server.openai.errors import error_body

_router = APIRouter(prefix="/v1", tags=["OpenAI"])
for _part in (chat, completions, embeddings, models, responses):
    _router.include_router(_part.router)

OPENAI = Dialect(_router, prefixes=("/v1",), error_body=error_body)
