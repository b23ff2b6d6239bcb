"""What llama-server has beside OpenAI's API, under its names (its README of autumn 2026)."""

from __future__ import annotations

from fastapi import APIRouter

from sterna.server.dialect import Dialect
from sterna.server.llama_server import props, tokens
from sterna.server.openai.errors import error_body

_router = APIRouter(tags=["llama-server"])
for _part in (props, tokens):
    _router.include_router(_part.router)

LLAMA_SERVER = Dialect(
    _router, prefixes=("/tokenize", "/detokenize", "/apply-template", "/props"), error_body=error_body
)
