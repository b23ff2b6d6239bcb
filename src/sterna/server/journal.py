"""The log: JSON, one object a line, with the id of the request that a line belongs to."""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
import warnings
from collections.abc import Callable, Collection
from contextvars import ContextVar
from datetime import datetime, timezone
from typing import Any

from prometheus_client import Counter
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("sterna.server")

QUIET = ("/health", "/ready", "/metrics")
"""Paths that are asked every few seconds, and logged at the level DEBUG alone."""

_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
_request: ContextVar[dict[str, Any]] = ContextVar("request")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "color_message", "taskName"}


class Journal:
    """Middleware that gives each request an id, its own (`X-Request-Id`) if it has one, and logs and counts how it
    ended."""

    def __init__(self, app: ASGIApp, replies: Counter, paths: Callable[[], Collection[str]]) -> None:
        """`replies` counts by path and status; a path that is none of `paths` is called `other` there."""
        self._app, self._replies, self._paths = app, replies, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        noted: dict[str, Any] = {"request": given if _ID.fullmatch(given) else uuid.uuid4().hex}
        token, begun, status = _request.set(noted), time.perf_counter(), 0

        async def with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = noted["request"]
            await send(message)

        try:
            await self._app(scope, receive, with_id)
        except Exception:
            status = 500
            raise
        finally:
            client, path = scope.get("client"), scope["path"]
            self._replies.labels(path if path in self._paths() else "other", status or "none").inc()
            log.log(
                logging.DEBUG if path in QUIET else logging.INFO,
                "answered" if status else "left",  # without a status the client was gone before there was one
                extra={
                    "method": scope["method"],
                    "path": path[:200],
                    "status": status or None,
                    "seconds": round(time.perf_counter() - begun, 4),
                    "client": client[0] if client else None,
                },
            )
            _request.reset(token)


def note(**facts: Any) -> None:
    """Adds facts to all later lines of the log about the request that is being answered."""
    noted = _request.get(None)
    if noted is not None:
        noted.update(facts)


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        line = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **_request.get({}),
            **extra,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def log_to_stderr() -> None:
    """Sends what the server and uvicorn log, and Python's warnings, to stderr as JSON."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    for name, level in (("sterna", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
    warnings.showwarning = lambda message, *place, **more: log.warning(str(message))
