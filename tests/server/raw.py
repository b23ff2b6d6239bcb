"""A client that does what no library does: it sends half a request, reads slowly, or leaves."""

from __future__ import annotations

import json
import socket
from typing import Any

from tests.server.conftest import Running


def connect(served: Running) -> socket.socket:
    """A connection to the server."""
    host, _, port = served.url.removeprefix("http://").rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def request(path: str, body: Any, **headers: str) -> bytes:
    """The bytes of a POST request."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named = {"Host": "localhost", "Content-Length": str(len(content)), **named}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + content


def post(served: Running, path: str, body: Any, **headers: str) -> socket.socket:
    """A connection on which a request was sent."""
    connection = connect(served)
    connection.sendall(request(path, body, **headers))
    return connection


def read_until(connection: socket.socket, mark: bytes) -> bytes:
    """What comes up to and with `mark`, or to the end of the connection."""
    data = b""
    while mark not in data:
        part = connection.recv(65536)
        if not part:
            break
        data += part
    return data


def rest(connection: socket.socket) -> bytes:
    """All that comes until the server closes; what a reset cuts off is missing."""
    data = b""
    try:
        while part := connection.recv(65536):
            data += part
    except ConnectionResetError:
        pass
    return data
