"""The real Open WebUI, which asks the server over both of its connections.

It takes 2.9 GB and some minutes to install, once, into pytest's cache, and a minute to start. It is made for Python
3.11 and 3.12."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.server.conftest import Running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (3, 11) <= sys.version_info < (3, 13), reason="Open WebUI is for Python 3.11 and 3.12"),
]

PACKAGES = ("torch==2.13.0", "open-webui==0.12.4")
MESSAGES = [{"role": "user", "content": "Tell me of the sea."}]


@pytest.fixture(scope="module")
def program(request: pytest.FixtureRequest) -> Path:
    """Its command, installed in an environment of its own."""
    assert request.config.cache is not None
    folder = request.config.cache.mkdir("open-webui")
    command = folder / "bin" / "open-webui"
    if not command.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", *PACKAGES], check=True, timeout=1800)
    return command


@pytest.fixture(scope="module")
def webui(served: Running, program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Open WebUI, which runs and to which somebody is signed in."""
    home = tmp_path_factory.mktemp("open-webui")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "DATA_DIR": str(home),
        "WEBUI_AUTH": "False",
        "WEBUI_SECRET_KEY": "secret",
        "OFFLINE_MODE": "True",
        "HF_HUB_OFFLINE": "1",
        "OPENAI_API_BASE_URL": f"{served.url}/v1",
        "OPENAI_API_KEY": "none",
        "OLLAMA_BASE_URL": served.url,
    }
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [program, "serve", "--host", "127.0.0.1", "--port", str(port)],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=home,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
            served.eventually(lambda: process.poll() is not None or _answers(client), seconds=300)
            assert process.poll() is None, (home / "log").read_text()[-2000:]
            token = client.post("/api/v1/auths/signin", json={"email": "", "password": ""}).json()["token"]
            client.headers["Authorization"] = f"Bearer {token}"
            yield client
    finally:
        process.terminate()
        process.wait(60)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").is_success
    except httpx.TransportError:
        return False


def test_it_finds_the_model_over_both_connections(webui: httpx.Client) -> None:
    models = {model["id"]: model["owned_by"] for model in webui.get("/api/models").json()["data"]}
    assert models == {"sterna-tern": "openai", "sterna-tern:latest": "ollama"}


@pytest.mark.parametrize("model", ["sterna-tern", "sterna-tern:latest"])
@pytest.mark.parametrize("stream", [True, False])
def test_it_gets_the_models_own_text(served: Running, webui: httpx.Client, model: str, stream: bool) -> None:
    wanted = served.llm.complete([served.llm.tokenizer.encode_chat(MESSAGES)], temperature=0.0, max_tokens=20)[0].text
    params = {"temperature": 0.0, "max_tokens": 20}  # as its page sends them
    body = {"model": model, "messages": MESSAGES, "stream": stream, "params": params}
    response = webui.post("/api/chat/completions", json=body).raise_for_status()
    if not stream:
        assert response.json()["choices"][0]["message"]["content"] == wanted
        return
    *data, done = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    chunks = [json.loads(each) for each in data]
    choices = [choice for chunk in chunks for choice in chunk.get("choices", [])]
    assert done == "[DONE]" and "".join(choice["delta"].get("content") or "" for choice in choices) == wanted


def test_it_gets_vectors_and_unloads_the_model(served: Running, webui: httpx.Client) -> None:
    vectors = webui.post("/ollama/api/embed", json={"model": "sterna-tern:latest", "input": ["a", "b"]}).json()
    assert len(vectors["embeddings"]) == 2
    webui.post("/ollama/api/unload", json={"name": "sterna-tern:latest"}).raise_for_status()
    served.eventually(lambda: not served.models.loaded())
