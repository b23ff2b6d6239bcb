"""A model is pulled from a (fake) hub through Ollama's API, used, and deleted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import ollama
import pytest

from tests.fake_hub import FakeHub, fake_hub
from tests.helpers import DATA

NAME, FILE = "org/tiny-gguf", "ggml-model-i2_s.gguf"


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with fake_hub() as hub:
        hub.repos[NAME] = {FILE: (DATA / "tiny-bitnet-b158-i2_s.gguf").read_bytes()}
        yield hub


@pytest.fixture
def client(hub: FakeHub, tmp_path: Path) -> Iterator[ollama.Client]:
    """A client of a server with a cache of its own."""
    own = {"STERNA_CACHE": str(tmp_path), "HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url}
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    command = [sys.executable, "-m", "sterna", "serve", "--port", "0", "--threads", "1"]
    with subprocess.Popen(command, env=keep | own, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            lines = iter(server.stderr.readline, "")
            url = next(found[0] for line in lines if (found := re.search(r"http://\S+$", line)))
            with ollama.Client(host=url) as client:
                yield client
        finally:
            server.terminate()


def test_a_model_is_pulled_used_and_deleted(hub: FakeHub, client: ollama.Client) -> None:
    steps = list(client.pull(f"{NAME}:latest", stream=True))
    size = len(hub.repos[NAME][FILE])
    assert steps[0].status == "pulling manifest" and steps[-1].status == "success"
    assert (steps[-2].status, steps[-2].completed, steps[-2].total) == (f"pulling {FILE}", size, size)
    assert len(steps[-2].digest or "") == 64
    assert [model.model for model in client.list().models] == ["sterna-tern:latest", f"{NAME}:latest"]
    assert client.generate(f"{NAME}:latest", "a", options={"num_predict": 2}).eval_count == 2
    assert client.pull(NAME).status == "success"
    client.delete(NAME)
    assert [model.model for model in client.list().models] == ["sterna-tern:latest"]


def test_what_the_hub_has_not_is_told(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="org/other is no model of the hub"):
        client.pull("org/other")
    with pytest.raises(ollama.ResponseError, match="org/other is no model of the hub"):
        list(client.pull("org/other", stream=True))
