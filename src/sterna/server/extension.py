"""What a server has beside its dialects."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from fastapi import APIRouter

from sterna.server.models import Models


@dataclass(frozen=True)
class Extension:
    """Addresses, and the work behind them. It is handed to `create_app` by whoever starts the server."""

    router: APIRouter
    running: Callable[[Models], AbstractAsyncContextManager[None]]
    """Surrounds the time in which the server has its models."""
    uploads: tuple[str, ...] = ()
    """Paths to which bodies of any size are posted. Their endpoints read them piece by piece."""
