"""What is too large, too many or too slow."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any

import pytest

from sterna.server.settings import Settings
from tests.server.conftest import Running, running
from tests.server.raw import connect, post, request, rest

SLOW = 0.4
ONE: dict[str, Any] = {"prompt": "a", "max_tokens": 1}


@pytest.fixture(scope="module")
def strict() -> Iterator[Running]:
    """A server with little patience, and little room."""
    with running(settings=Settings(port=0, slow_seconds=SLOW, queue=2, body_bytes=1 << 20)) as served:
        served.post("/v1/completions", ONE).raise_for_status()
        yield served


def test_a_million_tokens_asked_are_as_many_as_the_context_holds(served: Running) -> None:
    response = served.post("/v1/completions", {"prompt": "Once", "max_tokens": 1_000_000, "ignore_eos": True})
    usage, choice = response.json()["usage"], response.json()["choices"][0]
    assert usage["total_tokens"] == served.llm.context_length and choice["finish_reason"] == "length"


def test_no_limit_asked_is_the_contexts(served: Running) -> None:
    body = {"messages": [{"role": "user", "content": "Tell me."}], "ignore_eos": True}
    response = served.post("/v1/chat/completions", body)
    assert response.json()["usage"]["total_tokens"] == served.llm.context_length


@pytest.mark.parametrize("depth", [1_000, 100_000])
def test_deep_json_is_refused(served: Running, depth: int) -> None:
    for inner in ('{"a":' * depth + "1" + "}" * depth, "[" * depth + "]" * depth):
        body = b'{"messages": ' + inner.encode() + b', "prompt": "a"}'
        for path in ("/v1/chat/completions", "/v1/completions"):
            response = served.http.post(path, content=body)
            assert response.status_code in (200, 400) and response.json().keys() & {"error", "choices"}


def test_a_hundred_megabytes_are_refused(served: Running) -> None:
    response = served.http.post("/v1/completions", content=b"x" * 100_000_000)
    assert response.status_code == 413


def test_a_hundred_megabytes_in_chunks_are_refused(served: Running) -> None:
    response = served.http.post("/v1/completions", content=(b"x" * 1_000_000 for _ in range(100)))
    assert response.status_code == 413


def test_a_full_queue_says_when_to_come_again(strict: Running) -> None:
    body = {"prompt": "Once", "max_tokens": 400, "ignore_eos": True, "n": 20}
    with ThreadPoolExecutor(2) as pool:
        pending = [pool.submit(strict.post, "/v1/completions", body) for _ in range(2)]
        strict.eventually(lambda: strict.llm.statistics.running > 20)
        refused = strict.post("/v1/completions", ONE)
        assert strict.http.get("/health").status_code == 200
        assert all(each.result().status_code == 200 for each in pending)
    assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert strict.post("/v1/completions", ONE).status_code == 200


def test_half_a_body_is_given_up(strict: Running) -> None:
    head = request("/v1/completions", json.dumps(ONE).encode())
    with connect(strict) as client:
        client.sendall(head[:-5])
        assert rest(client).startswith(b"HTTP/1.1 408")


def test_a_body_of_single_bytes_is_given_up(strict: Running) -> None:
    with connect(strict) as client:
        client.sendall(request("/v1/completions", b"", Content_Length="1000"))
        reply = b""
        client.settimeout(0.02)
        while b"\r\n\r\n" not in reply:
            try:
                client.sendall(b" ")
                reply += client.recv(1000)
            except TimeoutError:
                continue
    assert reply.startswith(b"HTTP/1.1 408")


def test_half_a_head_is_given_up(strict: Running) -> None:
    for head in (b"", b"POST /v1/completions HTTP/1.1\r\nHost: local"):
        with connect(strict) as client:
            client.sendall(head)
            begun = time.monotonic()
            assert rest(client) == b"" and time.monotonic() - begun > SLOW / 2


def test_a_second_head_has_its_own_time(strict: Running) -> None:
    client = HTTPConnection("127.0.0.1", strict.server.servers[0].sockets[0].getsockname()[1])
    for _ in range(3):
        time.sleep(SLOW * 0.6)
        client.request("POST", "/v1/completions", json.dumps(ONE))
        response = client.getresponse()
        assert response.status == 200 and response.read()
    client.close()


def test_an_endless_head_is_cut(strict: Running) -> None:
    with connect(strict) as client:
        try:
            client.sendall(b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 100_000)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert b"200" not in rest(client)


def test_a_body_that_comes_with_its_head_is_no_part_of_it(served: Running) -> None:
    served.server.servers[0].sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    body = json.dumps({**ONE, "user": "x" * 150_000}).encode()
    with connect(served) as client:
        served.loop.call_soon_threadsafe(time.sleep, 0.5)  # so that all of it is there when the server reads
        client.sendall(request("/v1/completions", body, Connection="close"))
        assert rest(client).startswith(b"HTTP/1.1 200")


def test_a_client_that_does_not_read_is_given_up(strict: Running) -> None:
    """Its stream, with log-probabilities, is larger than all buffers between it and the server."""
    free = strict.free_blocks()
    body = {**ONE, "max_tokens": 450, "ignore_eos": True, "n": 60, "logprobs": 20, "stream": True}
    with post(strict, "/v1/completions", body) as client:
        strict.eventually(lambda: strict.free_blocks() < free)
        strict.eventually(lambda: strict.free_blocks() == free)
        assert b"[DONE]" not in rest(client)
    assert strict.post("/v1/completions", ONE).status_code == 200


def test_invalid_utf8_is_refused_everywhere(served: Running) -> None:
    for path in ("/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/v1/responses"):
        response = served.http.post(path, content=b'{"prompt": "\xff\xfe", "input": "\xff", "messages": []}')
        assert response.status_code == 400, path
    response = served.http.get("/v1/models/%ff%fe")
    assert response.status_code == 404
