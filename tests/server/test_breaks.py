"""What breaks in the middle is told: an error event in a stream, else a status; and models that are not there yet."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

import sterna.server.models
from sterna import LLM
from sterna.server import answer, answers
from sterna.server.known import known
from sterna.server.models import Models
from sterna.server.served import Policy
from tests.server.conftest import Running, running

LONG: dict[str, Any] = {"max_tokens": 400, "max_output_tokens": 400, "ignore_eos": True}
BODIES: dict[str, Any] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hi"}]},
    "/v1/completions": {"prompt": "Hi"},
    "/v1/responses": {"input": "Hi"},
}


def break_after(served: Running, monkeypatch: pytest.MonkeyPatch, passes: int) -> None:
    """Lets the engine fail once after so many passes."""
    backend = served.llm._loop.backend
    forward, left = backend.forward, passes

    def failing(spans: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            raise ZeroDivisionError
        return forward(spans)

    monkeypatch.setattr(backend, "forward", failing)


@pytest.mark.parametrize("path", BODIES)
def test_an_error_of_the_engine_ends_a_stream_with_an_event(
    served: Running, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    break_after(served, monkeypatch, 30)
    lines = served.post(path, {**BODIES[path], **LONG, "stream": True}).text.split("\n\n")
    assert len(lines) > 3 and lines[-1] == ""
    error = json.loads(lines[-2].rpartition("data: ")[2])["error"]
    assert error["type"] == "server_error"
    assert error["message"] == "Something that should not happen did: ZeroDivisionError. Please report it."


@pytest.mark.parametrize("path", BODIES)
def test_an_error_of_the_engine_is_a_500_where_nothing_was_sent(
    served: Running, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    break_after(served, monkeypatch, 3)
    response = served.post(path, {**BODIES[path], **LONG})
    assert response.status_code == 500 and response.json()["error"]["type"] == "server_error"
    assert served.post(path, {**BODIES[path], "max_tokens": 1}).status_code == 200


def test_the_client_raises_what_a_stream_breaks_off_with(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("chat", "responses"):
        break_after(served, monkeypatch, 10)
        with pytest.raises(openai.APIError) as caught:
            if path == "chat":
                list(
                    served.openai.chat.completions.create(
                        model="sterna-tern", messages=[{"role": "user", "content": "Hi"}], stream=True
                    )
                )
            else:
                list(served.openai.responses.create(model="sterna-tern", input="Hi", stream=True))
        assert caught.value.type == "server_error"
        monkeypatch.undo()


def test_numbers_that_are_not_finite_fail_one_request(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = served.llm._loop.backend
    finite = backend.finite
    monkeypatch.setattr(backend, "finite", lambda hidden: finite(hidden) & False)
    response = served.post("/v1/completions", {"prompt": "Hi"})
    monkeypatch.undo()
    assert response.status_code == 500
    assert response.json()["error"]["message"] == "The model computed numbers that are not finite."
    assert served.post("/v1/completions", {"prompt": "Hi"}).status_code == 200


def test_an_unexpected_error_has_the_dialects_body(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> Any:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(answer, "shapes", broken)
    response = served.post("/v1/completions", {"prompt": "Hi"})
    assert response.status_code == 500 and response.json()["error"]["type"] == "server_error"
    assert "secret" not in response.text


def test_a_model_that_is_unloaded_ends_its_streams_with_an_event() -> None:
    with running() as served, served.http.stream("POST", "/v1/completions", json=_stream()) as response:
        chunks = response.iter_text()
        assert "data: " in next(chunk for chunk in chunks if "data: " in chunk)
        served.llm.close()
        last = "".join(chunks).split("\n\n")[-2]
        assert json.loads(last.removeprefix("data: "))["error"] == {
            "message": "The model was unloaded; ask again.",
            "type": "unavailable_error",
            "param": None,
            "code": "model_unloaded",
        }


def _stream() -> dict[str, Any]:
    return {"prompt": "Hi", **LONG, "stream": True}


def test_a_stream_in_which_nothing_happens_sends_a_sign_of_life(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "HEARTBEAT", 0.02)
    go_on = threading.Event()
    stopped = threading.Thread(target=lambda: served.llm._loop.call(go_on.wait))
    stopped.start()
    with served.http.stream(
        "POST", "/v1/chat/completions", json={**BODIES["/v1/chat/completions"], "stream": True}
    ) as s:
        text = ""
        for chunk in s.iter_text():
            text += chunk
            if text.count(": ping\n\n") == 3:
                go_on.set()
    stopped.join()
    assert text.endswith("data: [DONE]\n\n")


def test_a_model_that_is_being_loaded_asks_for_patience(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    go_on = threading.Event()

    class SlowLLM(LLM):
        def __init__(self, *_: Any, **__: Any) -> None:
            go_on.wait()
            super().__init__()

    monkeypatch.setattr(sterna.server.models, "LLM", SlowLLM)
    with running(Models([known("slow", tmp_path)], policy=Policy(patience=0.05))) as served:
        for body in ({"prompt": "a"}, {"prompt": "a", "stream": True}):
            response = served.post("/v1/completions", body)
            assert response.status_code == 503 and response.headers["Retry-After"] == "1"
            error = response.json()["error"]
            assert error["type"] == "unavailable_error" and error["code"] == "model_loading"
        assert served.http.get("/v1/models").json()["data"][0]["id"] == "slow"
        go_on.set()
        client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=3)
        assert client.completions.create(model="slow", prompt="a").choices[0].text


def test_a_model_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF, but no more")
    with running(Models([known("broken", path)])) as served:
        for _ in range(2):
            response: httpx.Response = served.post("/v1/completions", {"prompt": "a"})
            assert response.status_code == 500
            error = response.json()["error"]
            assert (
                error["message"].startswith("The model broken cannot be loaded: ") and error["code"] == "model_broken"
            )
