"""The chat page: a fixed set of files, built from `web/page`, which are read when the server starts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

BUILT = Path(__file__).parent / "built"
"""A file in here is served at its path from here, `index.html` at `/`."""

_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    "Vary": "Accept",
}
"""Sent with every file: the page asks nobody but its server, no text becomes a script or markup, and no other page
shows it in a frame. Browsers keep a file, and ask each time whether it is still the same."""


@dataclass(frozen=True)
class PageFile:
    """A file as it is sent."""

    content: bytes
    media_type: str

    @cached_property
    def etag(self) -> str:
        """Tells this content from any other."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'

    def reply(self, headers: Headers) -> Response:
        """The file, or 304 where a request says that it has it."""
        known = [etag.strip().removeprefix("W/") for etag in headers.get("if-none-match", "").split(",")]
        sent = {**HEADERS, "ETag": self.etag}
        if self.etag in known or "*" in known:
            return Response(status_code=304, headers=sent)
        return Response(self.content, media_type=self.media_type, headers=sent)


def read_files(folder: Path) -> dict[str, PageFile]:
    """The files in a folder by their addresses."""
    files = {
        f"/{path.relative_to(folder).as_posix()}": PageFile(path.read_bytes(), _MEDIA_TYPES[path.suffix])
        for path in folder.rglob("*.*")
    }
    files["/"] = files.pop("/index.html")
    return files


FILES: Mapping[str, PageFile] = read_files(BUILT)


def asked_file(scope: Scope) -> PageFile | None:
    """The file of the page that a request asks for. At `/` only those get one who want HTML, as browsers do: programs
    look there for Ollama."""
    file = FILES.get(scope["path"]) if scope["method"] in ("GET", "HEAD") else None
    if scope["path"] == "/" and not _wants_html(Headers(scope=scope).get("accept", "")):
        return None
    return file


def _wants_html(accept: str) -> bool:
    return any(kind.partition(";")[0].strip().lower() == "text/html" for kind in accept.split(","))


class Page:
    """Middleware that answers requests for the page's files."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        file = asked_file(scope) if scope["type"] == "http" else None
        await (self._app if file is None else file.reply(Headers(scope=scope)))(scope, receive, send)
