"""Anthropic's API (types of anthropic-sdk-python 2.14)."""

from __future__ import annotations

from fastapi import APIRouter

from sterna.server.anthropic import messages
from sterna.server.anthropic.errors import error_body
from sterna.server.dialect import Dialect

_router = APIRouter(prefix="/v1", tags=["Anthropic"])
_router.include_router(messages.router)

ANTHROPIC = Dialect(_router, prefixes=("/v1/messages",), error_body=error_body)
