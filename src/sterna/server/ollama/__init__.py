"""Ollama's API (its Go types of August 2026)."""

from __future__ import annotations

from fastapi import APIRouter

from sterna.server.dialect import Dialect
from sterna.server.ollama import chat, embed, generate, library, models, root
from sterna.server.ollama.reply import error_body

_router = APIRouter(tags=["Ollama"])
for _part in (chat, embed, generate, library, models):
    _router.include_router(_part.router, prefix="/api")
_router.include_router(root.router)

OLLAMA = Dialect(_router, prefixes=("/api",), error_body=error_body)
