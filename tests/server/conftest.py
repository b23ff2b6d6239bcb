"""A server in a thread, one for each module of tests."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from openai import OpenAI

from sterna import LLM
from sterna.engine.options import EngineOptions
from sterna.files.embedded import EMBEDDED_NAME
from sterna.server.extension import Extension
from sterna.server.known import known_models
from sterna.server.models import Models
from sterna.server.run import Server
from sterna.server.settings import Settings


class Running:
    """A server that runs: its address, its models, and the embedded one as tests compare with it."""

    def __init__(self, server: Server, models: Models) -> None:
        self.server, self.models = server, models
        self.loop = server.servers[0].get_loop()
        name = server.servers[0].sockets[0].getsockname()
        self.url = f"http://{name[0]}:{name[1]}" if isinstance(name, tuple) else "http://localhost"
        self.http = httpx.Client(base_url=self.url, timeout=120)
        self.openai = OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)

    @property
    def llm(self) -> LLM:
        """The model of requests that name none."""
        return self.models.loaded()[0].llm

    def post(self, path: str, body: Any, **more: Any) -> httpx.Response:
        """The response to a body in JSON."""
        return self.http.post(path, json=body, **more)

    def events(self, path: str, body: Any) -> list[Any]:
        """The data of the events of a stream that ends as it should."""
        lines = self.post(path, body).raise_for_status().text.splitlines()
        *data, done = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
        assert done == "[DONE]"
        return [json.loads(each) for each in data]

    def free_blocks(self) -> int:
        """Blocks of the KV cache that no request has, once the engine has handled all earlier messages."""
        loop = self.llm._loop
        return loop.call(lambda: self.llm._cache.groups[0].allocator.available)

    def eventually(self, holds: Callable[[], bool], seconds: float = 60.0) -> None:
        """Waits until something holds."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end
            time.sleep(0.002)


@contextmanager
def running(
    models: Models | None = None, settings: Settings | None = None, extensions: Sequence[Extension] = ()
) -> Iterator[Running]:
    """Runs a server on a free port; of the embedded model where none are given."""
    models = models or Models(known_models([EMBEDDED_NAME]), EngineOptions(threads=1))
    server = Server(models, settings or Settings(port=0), extensions)
    thread = threading.Thread(target=server.run, name="server")
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.002)
        yield Running(server, models)
    finally:
        server.stop()
        thread.join()


@pytest.fixture(scope="module")
def served() -> Iterator[Running]:
    """A server of the embedded model, which is loaded."""
    with running() as server:
        server.http.post("/v1/completions", json={"prompt": "a", "max_tokens": 1}).raise_for_status()
        yield server
