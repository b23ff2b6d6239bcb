"""What llama-server has beside OpenAI's API."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers import EMBEDDED_CONTEXT
from tests.server.conftest import Running

MESSAGES: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Tell me of the sea."}]
LONG = "the sea and the ships " * 60


def test_texts_become_tokens_and_come_back(served: Running) -> None:
    tokenizer = served.llm.tokenizer
    tokens = served.post("/tokenize", {"content": "Über das Meer"}).json()["tokens"]
    assert tokens == tokenizer.encode("Über das Meer", add_special=False)
    assert served.post("/detokenize", {"tokens": tokens}).json() == {"content": "Über das Meer"}
    with_bos = served.post("/tokenize", {"content": "Über das Meer", "add_special": True}).json()["tokens"]
    assert with_bos == tokenizer.encode("Über das Meer")
    assert served.post("/tokenize", {"content": ""}).json() == {"tokens": []}


def test_pieces_are_texts_or_where_they_are_parts_of_characters_bytes(served: Running) -> None:
    text = "sea \U0001f30a"
    entries = served.post("/tokenize", {"content": text, "with_pieces": True}).json()["tokens"]
    assert [entry["id"] for entry in entries] == served.llm.tokenizer.encode(text, add_special=False)
    pieces = [
        bytes(entry["piece"]) if isinstance(entry["piece"], list) else entry["piece"].encode() for entry in entries
    ]
    assert b"".join(pieces).decode() == text
    assert any(isinstance(entry["piece"], list) for entry in entries)


def test_special_tokens_are_recognised_unless_that_is_not_wanted(served: Running) -> None:
    tokenizer = served.llm.tokenizer
    (bos,) = [tokenizer.bos_id]
    assert bos is not None
    name = tokenizer.token_bytes(bos).decode()
    assert served.post("/tokenize", {"content": name}).json()["tokens"] == [bos]
    assert served.post("/tokenize", {"content": name, "parse_special": False}).json()["tokens"] != [bos]
    assert served.post("/detokenize", {"tokens": [bos]}).json() == {"content": name}


def test_a_template_is_applied_as_a_chat_applies_it(served: Running) -> None:
    prompt = served.post("/apply-template", {"messages": MESSAGES}).json()["prompt"]
    assert "Be brief." in prompt and prompt.index("Tell me of the sea.") > prompt.index("Be brief.")
    tokens = served.post("/tokenize", {"content": prompt}).json()["tokens"]
    assert tokens == served.llm.tokenizer.encode_chat(MESSAGES)


def test_props(served: Running) -> None:
    props = served.http.get("/props").json()
    assert props["default_generation_settings"]["n_ctx"] == EMBEDDED_CONTEXT
    assert props["default_generation_settings"]["params"]["temperature"] == 1.0
    assert props["model_alias"] == "sterna-tern" and "/" not in props["model_path"]
    assert props["chat_template"] == "" and props["bos_token"] and props["eos_token"]
    assert served.http.get("/props?model=other").status_code == 404


@pytest.mark.parametrize("chat", [True, False])
def test_timings_count_what_was_done(served: Running, chat: bool) -> None:
    path = "/v1/chat/completions" if chat else "/v1/completions"
    question: dict[str, Any] = {"messages": MESSAGES} if chat else {"prompt": "Once"}
    body = {**question, "max_tokens": 9, "temperature": 0}
    reply = served.post(path, body).json()
    *_, end, last = served.events(path, {**body, "stream": True, "stream_options": {"include_usage": True}})
    for usage, timings in ((reply["usage"], reply["timings"]), (last["usage"], end["timings"])):
        assert timings["cache_n"] == usage["prompt_tokens_details"]["cached_tokens"]
        assert timings["prompt_n"] == usage["prompt_tokens"] - timings["cache_n"]
        assert timings["predicted_n"] == 9 and timings["predicted_ms"] > 0 and timings["prompt_ms"] > 0
        assert timings["predicted_per_second"] == pytest.approx(8e3 / timings["predicted_ms"])
        assert timings["prompt_per_second"] == pytest.approx(1e3 * timings["prompt_n"] / timings["prompt_ms"])
        assert "draft_n" not in timings


def test_drafts_are_counted_where_there_are_some(served: Running) -> None:
    body = {"prompt": "a b c d a b c d a b c d a b", "max_tokens": 40, "temperature": 0, "lookup": 4}
    timings = served.post("/v1/completions", body).json()["timings"]
    assert timings["draft_n"] >= timings["draft_n_accepted"] >= 0 and timings["draft_n"] > 0


@pytest.mark.parametrize("chat", [True, False])
def test_a_stream_tells_how_far_the_prompt_is(served: Running, chat: bool) -> None:
    path = "/v1/chat/completions" if chat else "/v1/completions"
    question: dict[str, Any] = {"messages": [{"role": "user", "content": LONG}]} if chat else {"prompt": LONG}
    body = {**question, "max_tokens": 2, "stream": True, "stream_options": {"include_usage": True}}
    assert not any("prompt_progress" in event for event in served.events(path, body))
    events = served.events(path, {**body, "return_progress": True})
    reports = [event["prompt_progress"] for event in events if "prompt_progress" in event]
    assert reports and all(report["total"] == events[-1]["usage"]["prompt_tokens"] for report in reports)
    assert all(0 <= report["cache"] <= report["processed"] <= report["total"] for report in reports)


def test_a_prompt_is_computed_anew_where_the_cache_is_not_wanted(served: Running) -> None:
    body = {"prompt": LONG, "max_tokens": 4, "temperature": 0, "n": 2}
    replies = [served.post("/v1/completions", {**body, "cache_prompt": cache}).json() for cache in (True, True, False)]
    cached = [reply["usage"]["prompt_tokens_details"]["cached_tokens"] for reply in replies]
    assert cached[1] > 0 and cached[2] == 0
    assert [choice["text"] for choice in replies[2]["choices"]] == [choice["text"] for choice in replies[0]["choices"]]


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/tokenize", {"content": 1}, "content is not valid"),
        ("/detokenize", {"tokens": [99999]}, "Token id 99999 is outside"),
        ("/detokenize", {"tokens": ["a"]}, "tokens is not valid"),
        ("/apply-template", {}, "The field messages is missing."),
        ("/apply-template", {"messages": [{"role": "pope", "content": "a"}]}, "The role of a message"),
    ],
)
def test_errors_have_openais_body(served: Running, path: str, body: Any, message: str) -> None:
    response = served.post(path, body)
    assert response.status_code == 400 and response.json()["error"]["message"].startswith(message)
