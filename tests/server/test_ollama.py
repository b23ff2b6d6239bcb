"""Ollama's API, by Ollama's own client: the text and the counts of `LLM`, lines, names, errors."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import ollama
import pytest

from sterna.engine.generation import Completion
from sterna.errors import OptionError
from sterna.server.answer import Piece
from sterna.server.events import CallArguments, CallStart, Text, Thinking
from sterna.server.ollama.conversation import template_messages
from sterna.server.ollama.names import keep_alive_seconds
from sterna.server.ollama.output import Part, Parts
from tests.helpers import EMBEDDED_CONTEXT
from tests.server.conftest import Running

MESSAGES: Any = [{"role": "user", "content": "Tell me of the sea."}]
OPTIONS: dict[str, Any] = {"temperature": 0.8, "seed": 5, "top_k": 0, "top_p": 1.0, "num_predict": 40}
NAME = "sterna-tern:latest"


@pytest.fixture(scope="module")
def client(served: Running) -> Iterator[ollama.Client]:
    with ollama.Client(host=served.url) as client:
        yield client


def expected(served: Running, prompt: Any = None, max_tokens: int = 40, **more: Any) -> Completion:
    """What the model itself says; to the messages, where there is no prompt."""
    prompt = served.llm.tokenizer.encode_chat(MESSAGES) if prompt is None else prompt
    return served.llm.complete([prompt], max_tokens=max_tokens, temperature=0.8, seed=5, **more)[0]


def check_counts(reply: Any, wanted: Completion) -> None:
    assert (reply.prompt_eval_count, reply.eval_count) == (wanted.prompt_tokens, wanted.completion_tokens)
    assert reply.done and reply.done_reason == ("length" if wanted.stop_reason == "length" else "stop")
    assert 0 <= reply.load_duration <= reply.total_duration
    assert 0 < reply.eval_duration <= reply.total_duration


def test_chat(served: Running, client: ollama.Client) -> None:
    wanted = expected(served)
    reply = client.chat(NAME, MESSAGES, options=OPTIONS)
    assert reply.message.content == wanted.text and reply.message.role == "assistant"
    assert reply.model == NAME and reply.message.tool_calls is None and reply.message.thinking is None
    check_counts(reply, wanted)


def test_a_chat_that_streams(served: Running, client: ollama.Client) -> None:
    wanted = expected(served, stop="not")
    assert wanted.stop_reason == "stop"
    *parts, last = client.chat(NAME, MESSAGES, options={**OPTIONS, "stop": ["not"]}, stream=True)
    assert "".join(part.message.content or "" for part in parts) == wanted.text
    assert last.message.content == "" and not any(part.done for part in parts)
    check_counts(last, wanted)


def test_generate(served: Running, client: ollama.Client) -> None:
    wanted = expected(served, "Once upon a time")
    reply = client.generate("sterna-tern", "Once upon a time", options=OPTIONS)
    assert reply.response == wanted.text and reply.model == "sterna-tern"
    assert reply.context == [*served.llm.tokenize("Once upon a time"), *wanted.token_ids]
    check_counts(reply, wanted)
    assert client.generate("sterna-tern", "Once upon a time", options=OPTIONS, raw=True).response == wanted.text


def test_generations_that_stream(served: Running, client: ollama.Client) -> None:
    wanted = expected(served, "Once upon a time")
    *parts, last = client.generate(NAME, "Once upon a time", options=OPTIONS, stream=True)
    assert "".join(part.response or "" for part in parts) == wanted.text
    check_counts(last, wanted)


def test_a_generation_goes_on_from_the_context_of_another(served: Running, client: ollama.Client) -> None:
    first = client.generate(NAME, "Once upon a time", options=OPTIONS)
    assert first.context is not None
    ids = [*first.context, *served.llm.tokenizer.encode(" And then", add_special=False)]
    again = client.generate(NAME, " And then", options=OPTIONS, context=first.context)
    assert again.response == expected(served, ids).text
    assert again.prompt_eval_count == len(ids)


def test_a_system_prompt_makes_a_prompt_a_chat(served: Running, client: ollama.Client) -> None:
    messages = [{"role": "system", "content": "Be brief."}, *MESSAGES]
    wanted = expected(served, served.llm.tokenizer.encode_chat(messages))
    assert client.generate(NAME, MESSAGES[0]["content"], system="Be brief.", options=OPTIONS).response == wanted.text


def test_streams_are_lines_and_the_default(served: Running) -> None:
    response = served.post("/api/chat", {"messages": MESSAGES, "options": {"num_predict": 3, "temperature": None}})
    assert response.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert {line["model"] for line in lines} == {"sterna-tern"}


def test_logprobs_are_those_of_chat_completions(served: Running, client: ollama.Client) -> None:
    wanted = expected(served, logprobs=2)
    assert wanted.logprobs is not None
    reply = client.chat(NAME, MESSAGES, options=OPTIONS, logprobs=True, top_logprobs=2)
    assert reply.logprobs is not None
    assert [entry.logprob for entry in reply.logprobs] == [entry.logprob for entry in wanted.logprobs]
    assert [len(entry.top_logprobs or ()) for entry in reply.logprobs] == [2] * 40
    parts = client.generate(NAME, "a", options={**OPTIONS, "num_predict": 5}, logprobs=True, stream=True)
    assert sum(len(part.logprobs or ()) for part in parts) == 5


def test_embeddings(served: Running, client: ollama.Client) -> None:
    texts = ["the sea", "a ship"]
    reply = client.embed(NAME, texts)
    np.testing.assert_allclose(reply.embeddings, served.llm.embed(texts), atol=1e-6)
    assert reply.prompt_eval_count == sum(len(served.llm.tokenize(text)) for text in texts)
    assert client.embed(NAME, "the sea").embeddings == reply.embeddings[:1]
    assert client.embeddings(NAME, "the sea").embedding == reply.embeddings[0]
    small = client.embed(NAME, "the sea", dimensions=8).embeddings[0]
    assert len(small) == 8 and math.isclose(math.fsum(x * x for x in small), 1, abs_tol=1e-5)
    assert served.post("/api/embed", {"model": NAME, "input": []}).json()["embeddings"] == []


def test_a_text_that_is_too_long_to_embed_is_cut_unless_it_must_not_be(served: Running, client: ollama.Client) -> None:
    ids = served.llm.tokenize("the sea " * EMBEDDED_CONTEXT)[: served.llm.context_length]
    np.testing.assert_allclose(
        client.embed(NAME, "the sea " * EMBEDDED_CONTEXT).embeddings, served.llm.embed([ids]), atol=1e-6
    )
    with pytest.raises(ollama.ResponseError, match=f"The prompt has more than {EMBEDDED_CONTEXT} tokens"):
        client.embed(NAME, "the sea " * EMBEDDED_CONTEXT, truncate=False)


def test_the_models_are_listed_with_what_their_files_say(served: Running, client: ollama.Client) -> None:
    (model,) = client.list().models
    assert model.model == NAME and model.details is not None
    assert (model.details.family, model.details.format) == ("bitnet-b1.58", "gguf")
    assert (model.details.parameter_size, model.details.quantization_level) == ("11.8M", "I2_S")
    assert model.size == served.models.known()[0].bytes and len(model.digest or "") == 64
    (running,) = client.ps().models
    assert (running.model, running.digest, running.context_length) == (NAME, model.digest, EMBEDDED_CONTEXT)
    assert running.size and running.expires_at is not None


def test_show(served: Running, client: ollama.Client) -> None:
    shown = client.show("sterna-tern")
    assert shown.capabilities == ["completion", "tools"]
    assert shown.parameters == f"num_ctx {EMBEDDED_CONTEXT}"
    assert shown.modelinfo is not None
    assert shown.modelinfo["general.architecture"] == "bitnet-b1.58"
    assert shown.modelinfo["bitnet-b1.58.context_length"] == EMBEDDED_CONTEXT
    assert shown.modelinfo["general.parameter_count"] == 11_759_232
    by_old_name = served.post("/api/show", {"name": NAME}).json()  # as litellm asks
    assert by_old_name["model_info"] == shown.modelinfo and by_old_name["template"] == ""


def test_an_empty_prompt_loads_and_unloads(served: Running, client: ollama.Client) -> None:
    loaded = client.generate(NAME, "")
    assert (loaded.done_reason, loaded.response) == ("load", "")
    unloaded = client.generate(NAME, "", keep_alive=0)
    assert unloaded.done and unloaded.done_reason == "unload"
    served.eventually(lambda: not client.ps().models)
    assert client.chat(NAME, [], keep_alive=0).done_reason == "unload"
    assert not client.ps().models
    assert client.chat(NAME, [], keep_alive="10m").done_reason == "load"
    assert len(client.ps().models) == 1


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (None, None),
        (0, 0),
        (300, 300),
        (-1, math.inf),
        ("-1", math.inf),
        ("5m", 300),
        ("1h30m", 5400),
        ("-1m", math.inf),
    ]
    + [("250ms", 0.25), ("1.5h", 5400), ("30", 30), ("0", 0)],
)
def test_durations_are_those_of_go(given: Any, seconds: float | None) -> None:
    assert keep_alive_seconds(given) == seconds


@pytest.mark.parametrize("given", ["", "soon", "5 m", "5x", "m", "1h?", "nan", "inf", math.nan])
def test_no_other_text_is_a_duration(given: str) -> None:
    with pytest.raises(OptionError, match="keep_alive is a time such as 90, 5m or 1h30m"):
        keep_alive_seconds(given)


def test_the_address_answers_as_ollama_does(served: Running) -> None:
    assert served.http.get("/").text == "Ollama is running"
    assert served.http.head("/").status_code == served.http.head("/api/version").status_code == 200
    assert served.http.get("/api/version").json()["version"].startswith("0.")


def test_history_becomes_messages_of_templates() -> None:
    call = {"function": {"name": "look", "arguments": {"city": "Kiel"}}}
    messages = [
        {"role": "user", "content": "Weather?", "images": []},
        {"role": "assistant", "content": "", "thinking": "I look.", "tool_calls": [call, {"id": "x", **call}]},
        {"role": "tool", "content": "Rain", "tool_name": "look", "tool_call_id": "x"},
    ]
    function = {"name": "look", "arguments": '{"city": "Kiel"}'}
    assert template_messages(messages) == [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "I look.",
            "tool_calls": [
                {"id": "call_0", "type": "function", "function": function},
                {"id": "x", "type": "function", "function": function},
            ],
        },
        {"role": "tool", "content": "Rain", "name": "look", "tool_call_id": "x"},
    ]


def test_calls_come_whole() -> None:
    parts, finish = Parts(), Any
    first = parts.part(
        Piece(0, [Thinking("Hm."), Text("So:"), CallStart(0, "a", "look"), CallArguments(0, '{"city":')])
    )
    assert first == Part("So:", "Hm.")
    second = parts.part(Piece(0, [CallArguments(0, '"Kiel"}'), CallStart(1, "b", "now"), CallArguments(1, '{"x')]))
    assert second.calls == [{"id": "a", "function": {"index": 0, "name": "look", "arguments": {"city": "Kiel"}}}]
    last = parts.part(Piece(0, [], finish=finish))  # type: ignore[arg-type]
    assert last == Part('{"x')  # broken off, so it stays text


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "message"),
    [
        ("GET", "/api/nowhere", None, 404, "There is nothing at this address"),
        ("GET", "/api/chat", None, 405, "This address does not take this method."),
        ("POST", "/api/chat", b"{", 400, "The body is no valid JSON."),
        ("POST", "/api/chat", b'{"options": {"temperature": "hot"}}', 400, "options is not valid"),
        ("POST", "/api/chat", b" " * (16 << 20 | 1), 413, "The body has more than 16777216 bytes."),
        ("POST", "/api/generate", b'{"model": "x", "prompt": "a"}', 404, "There is no model 'x'; this server has"),
        ("POST", "/api/generate", b'{"prompt": "a", "options": {"top_p": 2}}', 400, "top_p is a number"),
        ("POST", "/api/generate", b'{"prompt": "a", "template": "{{x}}"}', 400, "A template cannot be sent"),
        ("POST", "/api/generate", b'{"prompt": "a", "images": ["aa"]}', 400, "This server takes no images."),
        ("POST", "/api/generate", b'{"prompt": "a", "raw": true, "system": "b"}', 400, "A raw prompt goes with"),
        ("POST", "/api/generate", b'{"prompt": "a", "format": "xml"}', 400, "The format is json or a schema"),
        ("POST", "/api/generate", b'{"prompt": "a", "suffix": "b"}', 400, "This model cannot fill in the middle"),
        ("POST", "/api/generate", b'{"prompt": "a", "keep_alive": "soon"}', 400, "keep_alive is a time such as 90"),
        ("POST", "/api/chat", b'{"messages": [{"role": "pope", "content": "a"}]}', 400, "The role of a message"),
        ("POST", "/api/show", b'{"model": "../x"}', 404, "There is no model '../x'; this server has"),
        ("POST", "/api/create", b'{"model": "x"}', 501, "This server makes and sends no models"),
        ("POST", "/api/push", b'{"model": "x"}', 501, "This server makes and sends no models"),
        ("POST", "/api/blobs/sha256:1", b"x", 501, "This server makes and sends no models"),
        ("DELETE", "/api/delete", b'{"model": "sterna-tern"}', 403, "The model sterna-tern was given when"),
        ("POST", "/api/pull", b'{"model": "/etc/passwd", "stream": false}', 400, "/etc/passwd names no repository"),
    ],
)
def test_errors_have_ollamas_body(
    served: Running, method: str, path: str, content: bytes | None, status: int, message: str
) -> None:
    response = served.http.request(method, path, content=content)
    body = response.json()
    assert response.status_code == status and body.keys() == {"error"}
    assert body["error"].startswith(message)


def test_the_client_raises_what_breaks_a_stream_off(served: Running, client: ollama.Client) -> None:
    parts = client.pull("/etc/passwd", stream=True)
    assert next(iter(parts)).status == "pulling manifest"
    with pytest.raises(ollama.ResponseError, match="names no repository of the hub"):
        list(client.pull("/etc/passwd", stream=True))


def test_a_copy_is_the_same_model_until_it_is_deleted(served: Running, client: ollama.Client) -> None:
    assert client.copy(NAME, "gull").status == "success"
    assert [model.model for model in client.list().models] == [NAME, "gull:latest"]
    assert client.generate("gull", "Once", options=OPTIONS).response == expected(served, "Once").text
    assert client.delete("gull:latest").status == "success"
    assert [model.model for model in client.list().models] == [NAME]
