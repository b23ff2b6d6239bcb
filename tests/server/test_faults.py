"""Clients that leave, engines that fail, servers that stop: nobody else notices, and no stream ends in silence."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from sterna.engine.options import EngineOptions
from sterna.files.embedded import EMBEDDED_NAME
from sterna.server.known import known_models
from sterna.server.models import Models
from sterna.server.served import Policy
from sterna.server.settings import Settings
from tests.server.conftest import Running, running
from tests.server.raw import post, read_until, rest
from tests.server.slow import slow

COMPANION: dict[str, Any] = {"prompt": "It was", "max_tokens": 40, "temperature": 0.8, "seed": 3, "ignore_eos": True}
ENDLESS: dict[str, Any] = {"prompt": "Once", "max_tokens": 400, "ignore_eos": True}
LONG = {"prompt": [token % 400 + 5 for token in range(450)], "max_tokens": 20, "ignore_eos": True}


@pytest.fixture(scope="module")
def small() -> Iterator[Running]:
    """A server whose KV cache holds one long text at a time."""
    with running(Models(known_models([EMBEDDED_NAME]), EngineOptions(threads=1, pool_tokens=512))) as served:
        served.post("/v1/completions", {"prompt": "a", "max_tokens": 1}).raise_for_status()
        yield served


def text_of(served: Running, body: dict[str, Any]) -> str:
    response = served.post("/v1/completions", body)
    response.raise_for_status()
    text: str = response.json()["choices"][0]["text"]
    return text


def running_texts(served: Running) -> int:
    return served.llm.statistics.running


def events(data: bytes) -> list[Any]:
    """The JSON of a stream's events; `[DONE]` as a string."""
    lines = [line[6:] for line in data.decode().splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def wait_queued(served: Running, blocker: socket.socket) -> None:
    served.eventually(lambda: served.llm.statistics.waiting == 1)


def wait_prefill(served: Running, client: socket.socket) -> None:
    passes = served.llm.statistics.passes
    served.eventually(lambda: served.llm.statistics.passes > passes and running_texts(served) == 2)


def wait_first_token(served: Running, client: socket.socket) -> None:
    assert read_until(client, b'"text":')


def wait_decode(served: Running, client: socket.socket) -> None:
    data = b""
    while data.count(b"data:") < 4:
        data += client.recv(65536)


@pytest.mark.parametrize(
    ("body", "wait"),
    [
        ({**LONG, "stream": True}, wait_prefill),
        ({**LONG, "stream": False}, wait_prefill),
        ({**ENDLESS, "stream": True}, wait_first_token),
        ({**ENDLESS, "stream": True}, wait_decode),
        ({**ENDLESS, "stream": False}, wait_prefill),
    ],
)
def test_a_client_that_leaves_gives_its_blocks_back_before_the_next_pass(
    served: Running, body: dict[str, Any], wait: Callable[[Running, socket.socket], None]
) -> None:
    """The companion's text shows that nobody else noticed."""
    expected, free = text_of(served, COMPANION), served.free_blocks()
    with ThreadPoolExecutor(1) as companions:
        with slow(served):
            companion = companions.submit(text_of, served, COMPANION)
            served.eventually(lambda: running_texts(served) == 1)
            client = post(served, "/v1/completions", body)
            wait(served, client)
            assert running_texts(served) == 2
            client.close()
            left_at = served.llm.statistics.passes
            served.eventually(lambda: running_texts(served) == 1)
            assert served.llm.statistics.passes <= left_at + 2  # the one that ran, and one within 50 ms of the network
        assert companion.result() == expected
    served.eventually(lambda: served.free_blocks() == free)


def test_a_client_that_leaves_the_queue_is_never_admitted(small: Running) -> None:
    free = small.free_blocks()
    with ThreadPoolExecutor(1) as companions:
        with slow(small):
            first = companions.submit(text_of, small, LONG)
            small.eventually(lambda: running_texts(small) == 1)
            waiting = post(small, "/v1/completions", {**LONG, "prompt": LONG["prompt"][::-1], "stream": True})
            wait_queued(small, waiting)
            waiting.close()
            small.eventually(lambda: small.llm.statistics.waiting == 0)
            assert running_texts(small) == 1
            queries = small.llm.statistics.prefix_queries
        first.result()
    assert small.llm.statistics.prefix_queries == queries
    small.eventually(lambda: small.free_blocks() == free)


def test_an_exception_of_the_engine_ends_a_stream_with_an_error(served: Running) -> None:
    with slow(served, fail=lambda count: count == 5):
        data = events(rest(post(served, "/v1/completions", {**ENDLESS, "stream": True}, Connection="close")))
    assert data[-1]["error"]["type"] == "server_error" and "RuntimeError" in data[-1]["error"]["message"]
    assert "[DONE]" not in data
    assert text_of(served, COMPANION)  # the server goes on


def test_an_exception_of_the_engine_is_a_500_without_a_stream(served: Running) -> None:
    with slow(served, fail=lambda count: True):
        response = served.post("/v1/completions", ENDLESS)
    assert response.status_code == 500 and response.json()["error"]["type"] == "server_error"


def test_numbers_that_are_not_finite_fail_one_request(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = text_of(served, COMPANION)
    backend = served.llm._loop.backend
    finite = backend.finite
    # The first row of a pass is the companion's, which decodes; the others are those of the victim's prompt.
    monkeypatch.setattr(backend, "finite", lambda hidden: finite(hidden) & (np.arange(len(hidden)) == 0))
    with ThreadPoolExecutor(1) as companions:
        with slow(served):
            companion = companions.submit(text_of, served, COMPANION)
            served.eventually(lambda: running_texts(served) == 1)
            body = {"prompt": [5, 6, 7, 8], "echo": True, "logprobs": 0, "max_tokens": 1}
            victim = served.post("/v1/completions", body)
            monkeypatch.setattr(backend, "finite", finite)
        companion_text = companion.exception() or companion.result()
    assert victim.status_code == 500 and "not finite" in victim.json()["error"]["message"]
    assert companion_text == expected


def test_unloading_a_model_ends_its_streams_with_an_error() -> None:
    with running() as served:
        served.post("/v1/completions", {"prompt": "a", "max_tokens": 1}).raise_for_status()
        with slow(served):
            client = post(served, "/v1/completions", {**ENDLESS, "stream": True}, Connection="close")
            read_until(client, b'"text":')
            asyncio.run_coroutine_threadsafe(served.models.unload(EMBEDDED_NAME), served.loop).result()
        error = events(rest(client))[-1]["error"]
        assert error["type"] == "unavailable_error" and error["code"] == "model_unloaded"
        assert text_of(served, COMPANION)  # loaded again


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_takes_too_long_ends_with_an_error(stream: bool) -> None:
    models = Models(known_models([EMBEDDED_NAME]), EngineOptions(threads=1), Policy(deadline=0.3))
    with running(models) as served:
        served.post("/v1/completions", {"prompt": "a", "max_tokens": 1}).raise_for_status()
        with slow(served):
            free = served.free_blocks()
            data = rest(post(served, "/v1/completions", {**ENDLESS, "stream": stream}, Connection="close"))
            served.eventually(lambda: served.free_blocks() == free)
    status, _, body = data.partition(b"\r\n\r\n")
    assert status.startswith(b"HTTP/1.1 200" if stream else b"HTTP/1.1 504")
    error = events(body)[-1]["error"] if stream else json.loads(body)["error"]
    assert error["code"] == "deadline_exceeded" and "0.3 seconds" in error["message"]
    assert not stream or events(body)[0]["choices"]


def test_a_stop_lets_requests_finish() -> None:
    with running(settings=Settings(port=0, grace=20)) as served:
        expected = text_of(served, COMPANION)
        with ThreadPoolExecutor(1) as companions:
            with slow(served):
                companion = companions.submit(text_of, served, COMPANION)
                served.eventually(lambda: running_texts(served) == 1)
                served.server.stop()
                served.eventually(lambda: served.models.stopping)
            assert companion.result() == expected


def test_a_stop_breaks_off_what_runs_at_the_end_of_its_grace() -> None:
    with running(settings=Settings(port=0, grace=0.2)) as served:
        text_of(served, COMPANION)
        with slow(served):
            client = post(served, "/v1/completions", {**ENDLESS, "stream": True})
            read_until(client, b'"text":')
            served.server.stop()
            error = events(rest(client))[-1]["error"]
    assert error["type"] == "unavailable_error"


def test_sigterm_ends_a_stream_with_an_event_and_the_process_with_its_status() -> None:
    command = [sys.executable, "-m", "sterna", "serve", "--port", "0", "--grace", "0.2", "--threads", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = next(line for line in process.stderr if line.startswith("Serving at"))
        log: list[str] = []
        reader = threading.Thread(target=lambda: log.extend(process.stderr or ()))
        reader.start()
        url = line.split()[-1]
        host, _, port = url.removeprefix("http://").rpartition(":")
        client = socket.create_connection((host, int(port)), timeout=20)
        # Many choices keep the small model busy for longer than the grace.
        body = json.dumps({**ENDLESS, "n": 100, "stream": True}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        client.sendall(head + body)
        read_until(client, b'"text":')
        process.terminate()
        data = rest(client)
        assert process.wait(20) == 128 + 15
        reader.join()
    finally:
        process.kill()
    assert events(data)[-1]["error"]["type"] == "unavailable_error"
    lines = [json.loads(line) for line in log]
    answered = next(line for line in lines if line["message"] == "answered")
    assert answered["path"] == "/v1/completions" and answered["status"] == 200 and len(answered["request"]) == 32
    assert answered["completion_tokens"] > 0
