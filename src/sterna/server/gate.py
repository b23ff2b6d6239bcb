"""Who may ask: the Host and Origin headers, and the key. All are checked before the body of a request is read."""

from __future__ import annotations

import hmac
import ipaddress
import os
import socket
from collections.abc import Callable
from pathlib import Path

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sterna.errors import ArgumentError, NotFoundError
from sterna.server.errors import ApiError
from sterna.server.page import asked_file
from sterna.server.settings import Settings

OPEN = "/health"
"""The only path, beside the page's files, that needs no key: whoever watches over processes has none."""

_ALLOWED = "authorization, content-type, x-api-key, x-request-id, anthropic-version, anthropic-beta"
"""Headers that scripts of allowed origins may send, where their browser does not say which ones they do."""


class Gate:
    """Middleware that refuses what must not reach the server.

    - A Host that is neither an address nor a name of this machine, where the server listens at a loopback address: so
      no web site can reach the server through a name of its own that it resolves to 127.0.0.1 (DNS rebinding).
    - An Origin that is neither the server's own (the Host, to the port) nor allowed. Scripts of an allowed origin are
      told by CORS that they may read the reply.
    - A request without one of the keys, where there are keys. The page's files need none; what the page asks does.
    """

    def __init__(self, app: ASGIApp, settings: Settings, refusal: Callable[[str, ApiError], ASGIApp]) -> None:
        """`refusal` makes the reply to a path that tells an error."""
        self._app, self._refusal = app, refusal
        self._keys = [key.encode() for key in settings.api_keys]
        self._origins = {origin.lower().rstrip("/") for origin in settings.allow_origins}
        self._checks_host = settings.unix is None and is_loopback(settings.host)
        self._hosts = {"localhost", settings.host.lower(), socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin", "").lower()
        is_allowed = bool(origin) and (origin in self._origins or "*" in self._origins)
        if is_allowed:
            send = _readable_by(headers["origin"], send)
        try:
            self._check_host(headers.get("host", ""))
            if origin and not is_allowed and origin.partition("://")[2] != headers.get("host", "").lower():
                raise ApiError(
                    403, f"Pages of {headers['origin'][:200]} may not use this server; --allow-origin lets them."
                )
            if scope["method"] == "OPTIONS" and is_allowed and "access-control-request-method" in headers:
                await _preflight(headers)(scope, receive, send)
                return
            if scope["path"] != OPEN and asked_file(scope) is None:
                self._check_key(headers)
        except ApiError as error:
            if scope["method"] not in ("GET", "HEAD"):
                error.headers["Connection"] = "close"  # the body is not read
            await self._refusal(scope["path"], error)(scope, receive, send)
            return
        scope.setdefault("state", {})["has_key"] = bool(self._keys)
        await self._app(scope, receive, send)

    def _check_host(self, host: str) -> None:
        name = host.lower()
        if name.startswith("["):
            name = name[1:].partition("]")[0]
        else:
            name = name.partition(":")[0].rstrip(".")
        if self._checks_host and not (name in self._hosts or name.endswith(".localhost") or _is_address(name)):
            raise ApiError(403, f"This server is not called {host[:200]!r}; use its address, or localhost.")

    def _check_key(self, headers: Headers) -> None:
        if not self._keys:
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        # All are compared, so that the time tells nothing of which one is nearly right.
        # A header is read as Latin-1, whatever its bytes are.
        if not any([hmac.compare_digest(given.encode("latin-1"), key) for key in self._keys]):
            sentence = "This server needs a key" if not given else "The key is not one of this server's"
            raise ApiError(
                401,
                f"{sentence}: send it as `Authorization: Bearer KEY` or `x-api-key: KEY`.",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )


async def owner_only(request: Request) -> None:
    """A dependency of the endpoints that change what is on the disk. Raises `ApiError` 403 unless the request has a key
    or, where there are no keys, comes from this machine."""
    client = request.client
    if not getattr(request.state, "has_key", False) and client is not None and not is_loopback(client.host):
        raise ApiError(403, "Only a client with a key, or on the server's own machine, may change its models.")


def read_keys(path: Path | None) -> tuple[str, ...]:
    """The keys of a file, one a line, and that of `STERNA_API_KEY`. Empty lines and those that begin with # are
    left out. Raises `NotFoundError` for a file that cannot be read, and `ArgumentError` for one without keys."""
    keys = [os.environ["STERNA_API_KEY"]] if os.environ.get("STERNA_API_KEY") else []
    if path is not None:
        try:
            lines = [line.strip() for line in path.read_text().splitlines()]
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise NotFoundError(f"The keys in {path} cannot be read: {reason}.") from error
        found = [line for line in lines if line and not line.startswith("#")]
        if not found:
            raise ArgumentError(f"{path} has no keys; write one a line.")
        keys += found
    return tuple(keys)


def is_loopback(host: str) -> bool:
    """Whether an address, or the name localhost, is that of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _preflight(headers: Headers) -> Response:
    return Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Methods": "GET, HEAD, POST, DELETE",
            "Access-Control-Allow-Headers": headers.get("access-control-request-headers", _ALLOWED),
            "Access-Control-Max-Age": "600",
        },
    )


def _readable_by(origin: str, send: Send) -> Send:
    """Adds to a reply that scripts of an origin may read it."""

    async def with_origin(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = "x-request-id, retry-after"
            headers.add_vary_header("Origin")
        await send(message)

    return with_origin
