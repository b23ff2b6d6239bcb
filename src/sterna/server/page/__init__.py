"""The chat page, and the browser's engine at `/web`: fixed sets of files, built from `web/page` and `web/engine`, which
are read when the server starts. The embedded model lies beside the engine, which reads it in ranges of bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sterna.files.embedded import EMBEDDED_MODEL

BUILT = Path(__file__).parent / "built"
"""A file in here is served at its path from here, `index.html` at `/`."""

WEB = Path(__file__).parent / "web"
"""A file in here is served at its path below `/web/`, `index.html` at `/web/` itself."""

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

WEB_HEADERS = {
    **HEADERS,
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self' https:"
    ),
}
"""Sent with the files of the browser's engine, which may also load models from other hosts over HTTPS. Its service
worker comes from this server, as `'self'` asks."""


@dataclass(frozen=True)
class PageFile:
    """A file as it is sent."""

    content: bytes
    media_type: str
    headers: Mapping[str, str]

    @cached_property
    def etag(self) -> str:
        """Tells this content from any other."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'

    def reply(self, headers: Headers) -> Response:
        """The file, or 304 where a request says that it has it."""
        known = [etag.strip().removeprefix("W/") for etag in headers.get("if-none-match", "").split(",")]
        sent = {**self.headers, "ETag": self.etag}
        if self.etag in known or "*" in known:
            return Response(status_code=304, headers=sent)
        return Response(self.content, media_type=self.media_type, headers=sent)


@dataclass(frozen=True)
class ModelFile:
    """A model that the browser's engine loads, in ranges of its bytes."""

    path: Path

    def reply(self, headers: Headers) -> Response:
        """The file, or the part that a request asks for."""
        return FileResponse(self.path, media_type="application/octet-stream", headers=WEB_HEADERS)


@dataclass(frozen=True)
class Moved:
    """An address whose content is at another."""

    to: str

    def reply(self, headers: Headers) -> Response:
        """A redirection (307) to the other address."""
        return RedirectResponse(self.to)


def read_files(folder: Path, root: str = "", headers: Mapping[str, str] = HEADERS) -> dict[str, PageFile]:
    """The files in a folder by their addresses below `root`."""
    files = {
        f"{root}/{path.relative_to(folder).as_posix()}": PageFile(path.read_bytes(), _MEDIA_TYPES[path.suffix], headers)
        for path in folder.rglob("*.*")
    }
    files[f"{root}/"] = files.pop(f"{root}/index.html")
    return files


FILES: Mapping[str, PageFile] = read_files(BUILT)
WEB_FILES: Mapping[str, PageFile | ModelFile | Moved] = {
    "/web": Moved("web/"),  # from where it is, which a proxy may have moved
    **read_files(WEB, "/web", WEB_HEADERS),
    f"/web/{EMBEDDED_MODEL.name}": ModelFile(EMBEDDED_MODEL),
}


def asked_file(scope: Scope) -> PageFile | ModelFile | Moved | None:
    """The file that a request asks for. At `/` only those get one who want HTML, as browsers do: programs look there
    for Ollama."""
    if scope["method"] not in ("GET", "HEAD"):
        return None
    if scope["path"] == "/" and not _wants_html(Headers(scope=scope).get("accept", "")):
        return None
    return FILES.get(scope["path"]) or WEB_FILES.get(scope["path"])


def _wants_html(accept: str) -> bool:
    return any(kind.partition(";")[0].strip().lower() == "text/html" for kind in accept.split(","))


class Page:
    """Middleware that answers requests for the page's files and those of the browser's engine."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        file = asked_file(scope) if scope["type"] == "http" else None
        await (self._app if file is None else file.reply(Headers(scope=scope)))(scope, receive, send)
