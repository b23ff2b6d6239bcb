"""What breaks in the middle is told in the words of Anthropic's and of Ollama's API, and silence is broken by signs of
life."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import anthropic
import httpx
import ollama
import pytest

from sterna.server import answers
from tests.server.conftest import Running
from tests.server.test_breaks import break_after

QUESTION: Any = [{"role": "user", "content": "Hi"}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/messages": {"messages": QUESTION, "max_tokens": 400},
    "/api/chat": {"messages": QUESTION, "options": {"seed": 1}},
    "/api/generate": {"prompt": "Once", "options": {"seed": 1}},
}
OLLAMA = [path for path in BODIES if path.startswith("/api")]
MESSAGE = "Something that should not happen did: ZeroDivisionError. Please report it."


@pytest.mark.parametrize("path", BODIES)
def test_an_error_of_the_engine_is_a_500_where_nothing_was_sent(
    served: Running, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    break_after(served, monkeypatch, 2)
    response = served.post(path, {**BODIES[path], "stream": False})
    assert response.status_code == 500
    error = response.json()["error"]
    assert error == MESSAGE if path in OLLAMA else error == {"type": "api_error", "message": MESSAGE}


def test_anthropics_client_raises_what_a_stream_breaks_off_with(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = anthropic.Anthropic(base_url=served.url, api_key="none", max_retries=0)
    break_after(served, monkeypatch, 3)
    with pytest.raises(anthropic.APIStatusError, match=MESSAGE) as caught:
        with client.messages.stream(model="sterna-tern", **BODIES["/v1/messages"]) as stream:
            stream.until_done()
    assert caught.value.type == "api_error"


@pytest.mark.parametrize("path", OLLAMA)
def test_ollamas_stream_breaks_off_with_a_line(served: Running, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    break_after(served, monkeypatch, 60)
    *parts, last = [json.loads(line) for line in served.post(path, BODIES[path]).text.splitlines()]
    assert parts and not any(part["done"] for part in parts)
    assert last == {"error": MESSAGE}


def test_ollamas_client_raises_what_a_stream_breaks_off_with(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    break_after(served, monkeypatch, 60)
    with ollama.Client(host=served.url) as client, pytest.raises(ollama.ResponseError, match=MESSAGE):
        list(client.chat("sterna-tern", QUESTION, stream=True, options={"seed": 1}))


def slowly(served: Running, monkeypatch: pytest.MonkeyPatch, path: str, enough: Callable[[str], bool]) -> str:
    """A stream whose engine does nothing until the text so far is enough."""
    monkeypatch.setattr(answers, "HEARTBEAT", 0.02)
    go_on = threading.Event()
    stopped = threading.Thread(target=lambda: served.llm._loop.call(go_on.wait))
    stopped.start()
    try:
        with httpx.stream("POST", served.url + path, json={**BODIES[path], "stream": True}, timeout=30) as response:
            text = ""
            for chunk in response.iter_text():
                text += chunk
                if enough(text):
                    go_on.set()
    finally:
        go_on.set()
        stopped.join()
    return text


def test_anthropics_stream_pings(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    text = slowly(served, monkeypatch, "/v1/messages", lambda text: text.count("event: ping\n") >= 4)
    assert text.startswith("event: message_start\n") and text.count("event: message_stop\n") == 1


@pytest.mark.parametrize("path", OLLAMA)
def test_ollamas_stream_sends_empty_parts(served: Running, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    text = slowly(served, monkeypatch, path, lambda text: text.count("\n") >= 3)
    first, second, *_, last = [json.loads(line) for line in text.splitlines()]
    for part in (first, second):
        assert (part["message"]["content"] if "message" in part else part["response"]) == "" and not part["done"]
    assert last["done"]
