"""What every request goes through: errors in the dialect's body, limits, clients that leave."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from tests.server.conftest import Running

ENDLESS: dict[str, Any] = {"prompt": "Once", "max_tokens": 500, "ignore_eos": True}


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "message"),
    [
        ("GET", "/nowhere", None, 404, "There is nothing at this address; docs/serve.md lists the addresses."),
        ("GET", "/v1/nowhere", None, 404, "There is nothing at this address; docs/serve.md lists the addresses."),
        ("GET", "/v1/completions", None, 405, "This address does not take this method."),
        ("POST", "/v1/completions", b"{", 400, "The body is no valid JSON."),
        ("POST", "/v1/completions", b'{"prompt": "\xff"}', 400, "The body is no valid JSON."),
        ("POST", "/v1/completions", b"[" * 100_000, 400, "The body is no valid JSON."),
        ("POST", "/v1/completions", b"", 400, "The body is no JSON object."),
        ("POST", "/v1/completions", b"[1]", 400, "The body is no JSON object."),
        ("POST", "/v1/completions", b"{}", 400, "The field prompt is missing."),
        ("POST", "/v1/completions", b'{"prompt": null}', 400, "The field prompt is missing."),
        ("POST", "/v1/completions", b'{"prompt": "a", "n": 0}', 400, "n is not valid"),
        ("POST", "/v1/completions", b'{"prompt": "a", "temperature": -1}', 400, "temperature is a number from 0, not"),
        ("POST", "/v1/completions", b'{"prompt": [99999]}', 400, "A token id is outside the vocabulary of"),
        ("POST", "/v1/completions", json.dumps({"prompt": "a b" * 999}).encode(), 400, "The prompt has more than 1023"),
        ("POST", "/v1/completions", b'{"prompt": "a", "model": "../x"}', 404, "There is no model '../x'; this server"),
        ("POST", "/v1/completions", b"a" * (16 << 20 | 1), 413, "The body has more than 16777216 bytes."),
        ("POST", "/v1/chat/completions", b'{"messages": [{"role": "pope", "content": "a"}]}', 400, "The role of a me"),
    ],
)
def test_errors_have_openais_body(
    served: Running, method: str, path: str, content: bytes | None, status: int, message: str
) -> None:
    response = served.http.request(method, path, content=content)
    error = response.json()["error"]
    assert response.status_code == status and error.keys() == {"message", "type", "param", "code"}
    assert error["message"].startswith(message) and error["message"].endswith(".")
    assert error["type"] == "invalid_request_error"


def test_a_body_is_json_whatever_its_header_says(served: Running) -> None:
    for kind in ("application/x-www-form-urlencoded", "text/plain"):
        response = served.http.post(
            "/v1/completions", content=b'{"prompt": "a", "max_tokens": 1}', headers={"Content-Type": kind}
        )
        assert response.status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_blocks(served: Running, stream: bool) -> None:
    free = served.free_blocks()
    with socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2]))) as client:
        body = json.dumps({**ENDLESS, "stream": stream}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        client.sendall(head + body)
        served.eventually(lambda: served.free_blocks() < free)
        if stream:
            assert client.recv(15) == b"HTTP/1.1 200 OK"
    served.eventually(lambda: served.free_blocks() == free)
