"""What Open WebUI 0.12.4 and Continue send, request by request, in the order in which they do. The bodies are such as
their sources make (`open_webui/utils/payload.py` and `routers/ollama.py`; `core/llm/llms/Ollama.ts`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest

from sterna.engine.options import EngineOptions
from sterna.files.embedded import EMBEDDED_NAME
from sterna.server.known import known_models
from sterna.server.models import Models
from tests.helpers import DATA
from tests.server.chatty_model import write_chatty_model
from tests.server.conftest import Running, running


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of two models."""
    path: Path = tmp_path_factory.mktemp("models") / "chatty.gguf"
    write_chatty_model(path)
    with running(Models(known_models([str(path), EMBEDDED_NAME]), EngineOptions(threads=1))) as server:
        yield server


def lines(application: str) -> list[Any]:
    return [json.loads(line) for line in (DATA / "server" / f"{application}.jsonl").read_text().splitlines()]


def texts_of(response: httpx.Response) -> list[str]:
    """The texts and thoughts of a reply in any dialect, which must not break off."""
    kind = response.headers["content-type"].partition(";")[0]
    if kind == "application/x-ndjson":
        *parts, last = [json.loads(line) for line in response.text.splitlines()]
        assert last["done"] and last["eval_count"] and not any(part["done"] for part in parts)
    elif kind == "text/event-stream":
        events = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
        end = events.pop() if events[-1] == "[DONE]" else json.loads(events[-1])["type"]
        assert end in ("[DONE]", "message_stop", "response.completed", "response.incomplete")
        parts = [json.loads(event) for event in events]
    else:
        parts = [response.json()]
    return [text for part in parts for text in _strings(part) if text]


def _strings(
    value: Any, names: tuple[str, ...] = ("content", "reasoning_content", "thinking", "text", "response", "delta")
) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, str) and name in names:
                yield inner
            else:
                yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


@pytest.mark.parametrize("application", ["open_webui", "continue"])
def test_an_applications_requests_are_all_answered(served: Running, application: str) -> None:
    for line in lines(application):
        body = line["body"]
        response = served.http.request(line["method"], line["path"], json=body)
        assert response.status_code == 200, (line, response.text)
        if (
            body
            and {"messages", "prompt", "input"} & body.keys()
            and "embed" not in line["path"]
            and body.get("prompt") != ""
        ):
            assert texts_of(response), line
            assert response.headers["content-type"].startswith("application/json") != body["stream"]
    if application == "open_webui":  # its last request unloads the model
        served.eventually(lambda: [model.name for model in served.models.loaded()] == [EMBEDDED_NAME])


def test_what_is_listed_can_be_asked_for_by_the_same_name(served: Running) -> None:
    for model in served.http.get("/api/tags").json()["models"]:
        assert model["name"].endswith(":latest")
        reply = served.post(
            "/api/chat",
            {
                "model": model["model"],
                "messages": [{"role": "user", "content": "a"}],
                "options": {"num_predict": 1},
                "stream": False,
            },
        )
        assert reply.json()["model"] == model["model"]


def test_a_template_and_marks_are_told(served: Running) -> None:
    shown = served.post("/api/show", {"model": "chatty"}).json()
    assert shown["capabilities"] == ["completion", "tools", "insert", "thinking"]
    assert ".Suffix" in shown["template"] and "<|im_start|>" in shown["template"]


def test_a_gap_is_filled(served: Running) -> None:
    llm = next(each.llm for each in served.models.loaded() if each.name == "chatty")
    wanted = llm.generate(llm.tokenizer.encode_infill("the ", " sea"), max_tokens=8)
    with ollama.Client(host=served.url) as client:
        options = {"temperature": 0, "num_predict": 8}
        assert client.generate("chatty", "the ", suffix=" sea", options=options).response == wanted


@pytest.mark.parametrize("think", [None, True, False, "high"])
def test_thoughts_come_apart_unless_they_are_not_wanted(served: Running, think: Any) -> None:
    with ollama.Client(host=served.url) as client:
        options = {"temperature": 0, "num_predict": 8}
        chat = client.chat("chatty", [{"role": "user", "content": "a"}], think=think, options=options)
        generated = client.generate("chatty", "a", think=think, options=options)
    for text, thoughts in ((chat.message.content, chat.message.thinking), (generated.response, generated.thinking)):
        assert bool(text) != bool(thoughts)
        assert bool(thoughts) == (think is not False)


@pytest.mark.parametrize(
    ("thinking", "kind"), [({"type": "enabled", "budget_tokens": 1024}, "thinking"), ({"type": "disabled"}, "text")]
)
def test_anthropics_thinking_is_a_block(served: Running, thinking: Any, kind: str) -> None:
    body = {"model": "chatty", "messages": [{"role": "user", "content": "a"}], "max_tokens": 8, "thinking": thinking}
    message = served.post("/v1/messages", body).json()
    assert [block["type"] for block in message["content"]] == [kind]
    assert (message["usage"]["output_tokens_details"]["thinking_tokens"] > 0) == (kind == "thinking")
