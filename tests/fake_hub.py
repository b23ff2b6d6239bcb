"""A Hugging Face hub on this machine: the endpoints that downloading uses, with faults on demand."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER_COMMIT = "f" * 40


class FakeHub:
    """`repos`: for each repository, its files by path; data sets begin with `datasets/`. `licences`: of some of them.
    `requests`: (method, path, Range header). Tests set faults."""

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.licences: dict[str, str | list[str]] = {}
        self.branches = {"main": COMMIT}
        self.requests: list[tuple[str, str, str | None]] = []
        self.url = ""
        self.break_after: int | None = None
        """Bytes of a weight file after which the connection drops; from then on, the hub is `broken`."""
        self.broken = False
        self.token: str | None = None
        """The token that the Authorization header must carry."""
        self.gated = False
        self.damaged = False
        """Whether weights are sent with a wrong byte."""

    def ranges(self) -> list[str | None]:
        """Range headers of the GET requests for GGUF files."""
        return [range_ for method, path, range_ in self.requests if method == "GET" and path.endswith(".gguf")]


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            self.answer()

        def do_HEAD(self) -> None:
            self.answer()

        def answer(self) -> None:
            hub.requests.append((self.command, self.path, self.headers.get("Range")))
            if hub.token is not None and self.headers.get("Authorization") != f"Bearer {hub.token}":
                code = "GatedRepo" if hub.gated else "RepoNotFound"
                self.send(401, b"{}", {"X-Error-Code": code, "X-Error-Message": "Access is restricted."})
            elif found := re.fullmatch(
                r"/api/(?:models/)?((?:datasets/)?[^/]+/[^/]+)/revision/([^/?]+)(\?.*)?", self.path
            ):
                self.listing(found[1], unquote(found[2]))
            elif found := re.fullmatch(r"/((?:datasets/)?[^/]+/[^/]+)/resolve/([^/]+)/([^?]+)(\?.*)?", self.path):
                self.file(found[1], found[2], found[3])
            else:
                self.send(404, b"{}", {"X-Error-Code": "EntryNotFound"})

        def listing(self, repo: str, revision: str) -> None:
            commit = hub.branches.get(revision, revision)
            if repo not in hub.repos:
                self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            elif commit not in hub.branches.values():
                self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            else:
                siblings = [{"rfilename": name} for name in hub.repos[repo]]
                card = {"cardData": {"license": hub.licences[repo]}} if repo in hub.licences else {}
                self.send(200, json.dumps({"id": repo, "sha": commit, "siblings": siblings, **card}).encode())

        def file(self, repo: str, revision: str, name: str) -> None:
            data = hub.repos[repo][name]
            weights = name.endswith((".gguf", ".safetensors"))
            if weights and hub.broken and self.command == "GET":
                self.send(503, b"")
                return
            etag = (hashlib.sha256 if weights else hashlib.sha1)(data).hexdigest()
            headers = {"X-Repo-Commit": hub.branches.get(revision, revision), "ETag": f'"{etag}"'}
            start = int((self.headers.get("Range") or "bytes=0-")[6:].rstrip("-"))
            if weights and hub.damaged:
                data = data[:-1] + bytes([data[-1] ^ 1])
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self.send(206 if start else 200, data[start:], headers, hub.break_after if weights else None)

        def send(
            self, status: int, body: bytes, headers: dict[str, str] | None = None, break_after: int | None = None
        ) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body[:break_after])
                if break_after is not None:
                    hub.broken, self.close_connection = True, True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
