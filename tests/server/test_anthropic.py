"""Anthropic's API, by Anthropic's own client: the text and the counts of `LLM`, every kind of event, errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from sterna.engine.generation import Completion
from sterna.server.answer import Usage
from sterna.server.anthropic.conversation import template_messages
from sterna.server.anthropic.output import Message
from sterna.server.events import CallArguments, CallStart, Event, Text, Thinking
from tests.helpers import EMBEDDED_CONTEXT
from tests.server.conftest import Running

MESSAGES: Any = [{"role": "user", "content": "Tell me of the sea."}]
KNOWN: dict[str, Any] = {"model": "sterna-tern", "extra_body": {"temperature": 0.8, "seed": 5}}


@pytest.fixture(scope="module")
def client(served: Running) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=served.url, api_key="none", max_retries=0) as client:
        yield client


def expected(served: Running, messages: Any = MESSAGES, max_tokens: int = 40, **more: Any) -> Completion:
    """What the model itself says."""
    prompt = served.llm.tokenizer.encode_chat(messages)
    return served.llm.complete([prompt], max_tokens=max_tokens, temperature=0.8, seed=5, **more)[0]


def counts(message: Any) -> tuple[int, int]:
    usage = message.usage
    return usage.input_tokens + usage.cache_read_input_tokens, usage.output_tokens


def test_messages(served: Running, client: anthropic.Anthropic) -> None:
    wanted = expected(served)
    message = client.messages.create(messages=MESSAGES, max_tokens=40, **KNOWN)
    assert [block.type for block in message.content] == ["text"]
    assert getattr(message.content[0], "text", None) == wanted.text
    assert (message.stop_reason, message.stop_sequence) == ("max_tokens", None)
    assert counts(message) == (wanted.prompt_tokens, wanted.completion_tokens)
    assert message.model == "sterna-tern" and message.id.startswith("msg_") and message.role == "assistant"


def test_messages_that_stream(served: Running, client: anthropic.Anthropic) -> None:
    wanted = expected(served, stop=("not",))
    assert wanted.stop_string == "not"
    with client.messages.stream(messages=MESSAGES, max_tokens=40, stop_sequences=["not"], **KNOWN) as stream:
        assert "".join(stream.text_stream) == wanted.text
        message = stream.get_final_message()
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "not")
    assert counts(message) == (wanted.prompt_tokens, wanted.completion_tokens)
    assert getattr(message.content[0], "text", None) == wanted.text


def test_the_events_of_a_stream_come_in_their_order(served: Running) -> None:
    body = {"model": "sterna-tern", "messages": MESSAGES, "max_tokens": 8, "temperature": 0, "stream": True}
    blocks = served.post("/v1/messages", body).text.strip().split("\n\n")
    events = [
        (lines[0].removeprefix("event: "), json.loads(lines[1].removeprefix("data: ")))
        for lines in (block.splitlines() for block in blocks)
    ]
    assert all(name == data["type"] for name, data in events)
    names = [name for name, _ in events]
    deltas = names.count("content_block_delta")
    assert deltas and names == [
        "message_start",
        "ping",
        "content_block_start",
        *["content_block_delta"] * deltas,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0][1]["message"]["content"] == [] and events[0][1]["message"]["stop_reason"] is None


def test_a_prompt_that_comes_again_is_read_from_the_cache(served: Running, client: anthropic.Anthropic) -> None:
    messages: Any = [{"role": "user", "content": "Tell me of the harbour and of the boats in it. " * 4}]
    first, again = [client.messages.create(messages=messages, max_tokens=1, **KNOWN) for _ in range(2)]
    assert first.usage.cache_read_input_tokens == 0
    assert again.usage.cache_read_input_tokens
    assert counts(first) == counts(again)


def test_more_tokens_than_the_context_has_end_with_it(served: Running) -> None:
    messages = [{"role": "user", "content": "the sea " * 248}]
    message = served.post("/v1/messages", {"messages": messages, "max_tokens": 128_000, "temperature": 0}).json()
    usage = message["usage"]
    assert message["stop_reason"] == "model_context_window_exceeded"
    assert usage["input_tokens"] + usage["cache_read_input_tokens"] + usage["output_tokens"] == EMBEDDED_CONTEXT


def test_the_answer_goes_on_from_an_assistant_message(served: Running, client: anthropic.Anthropic) -> None:
    tokenizer = served.llm.tokenizer
    prompt = tokenizer.encode_chat(MESSAGES) + tokenizer.encode("The sea is", add_special=False)
    wanted = served.llm.complete([prompt], max_tokens=20, temperature=0.8, seed=5)[0]
    for content in ("The sea is", [{"type": "text", "text": "The sea is"}]):
        begun: Any = [*MESSAGES, {"role": "assistant", "content": content}]
        message = client.messages.create(messages=begun, max_tokens=20, **KNOWN)
        assert getattr(message.content[0], "text", None) == wanted.text


def test_tokens_are_counted_as_the_prompt_has_them(served: Running, client: anthropic.Anthropic) -> None:
    system = [{"type": "text", "text": "Be brief."}]
    count = client.messages.count_tokens(model="sterna-tern", messages=MESSAGES, system=system)  # type: ignore[arg-type]
    wanted = served.llm.tokenizer.encode_chat([{"role": "system", "content": "Be brief."}, *MESSAGES])
    assert count.input_tokens == len(wanted)


def test_history_becomes_messages_of_templates() -> None:
    messages = [
        {"role": "user", "content": "What is the weather?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "I look.", "signature": ""},
                {"type": "text", "text": "One moment."},
                {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"city": "Kiel"}},
                {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "Rain"}]},
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": "noon"},
                {"type": "text", "text": "And?", "cache_control": {"type": "ephemeral"}},
            ],
        },
        {"role": "user", "content": "Well?"},
    ]
    assert template_messages(
        [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}], messages
    ) == [
        {"role": "system", "content": "Be brief.\nBe kind."},
        {"role": "user", "content": "What is the weather?"},
        {
            "role": "assistant",
            "content": "One moment.",
            "reasoning_content": "I look.",
            "tool_calls": [
                {"id": "toolu_1", "type": "function", "function": {"name": "look", "arguments": '{"city": "Kiel"}'}},
                {"id": "toolu_2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "toolu_1", "content": "Rain"},
        {"role": "tool", "tool_call_id": "toolu_2", "content": "noon"},
        {"role": "user", "content": "And?\nWell?"},
    ]


def blocks_of(events: list[Event]) -> tuple[list[Any], list[str]]:
    """The blocks of a message that a model wrote so, and the types of the events that tell of it."""
    message = Message("m", Usage(1, 0, 0, 0), 10)
    told = [each["type"] for event in events for each in message.add(event)]
    told += [each["type"] for each in message._close()]
    return message.whole["content"], told


def test_thoughts_text_and_calls_are_blocks_of_their_own() -> None:
    calls: list[Event] = [CallStart(0, "a", "look"), CallArguments(0, '{"city":'), CallArguments(0, '"Kiel"}')]
    blocks, told = blocks_of([Thinking("Hm"), Thinking("m."), Text("So"), Text(":"), *calls, CallStart(1, "b", "now")])
    assert blocks == [
        {"type": "thinking", "thinking": "Hmm.", "signature": ""},
        {"type": "text", "text": "So:"},
        {"type": "tool_use", "id": "a", "name": "look", "input": {"city": "Kiel"}},
        {"type": "tool_use", "id": "b", "name": "now", "input": {}},
    ]
    start, delta, stop = "content_block_start", "content_block_delta", "content_block_stop"
    assert told == [*[start, delta, delta, delta, stop], *[start, delta, delta, stop] * 2, start, stop]


def test_a_call_that_is_broken_off_stays_readable() -> None:
    blocks, _ = blocks_of([CallStart(0, "a", "look"), CallArguments(0, '{"city": "Ki')])
    assert blocks == [{"type": "text", "text": '{"city": "Ki'}]


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "kind", "message"),
    [
        ("GET", "/v1/messages", None, 405, "invalid_request_error", "This address does not take this method."),
        ("POST", "/v1/messages/batches", b"{}", 404, "not_found_error", "There is nothing at this address"),
        ("POST", "/v1/messages", b"{", 400, "invalid_request_error", "The body is no valid JSON."),
        (
            "POST",
            "/v1/messages",
            b'{"messages": [{}]}',
            400,
            "invalid_request_error",
            "The field max_tokens is missing.",
        ),
        ("POST", "/v1/messages", b" " * (16 << 20 | 1), 413, "request_too_large", "The body has more than 16777216"),
        ("POST", "/v1/messages", b'{"max_tokens": 0, "messages": [{}]}', 400, "invalid_request_error", "max_tokens is"),
        ("POST", "/v1/messages/count_tokens", b"[]", 400, "invalid_request_error", "The body is no JSON object."),
    ],
)
def test_errors_have_anthropics_body(
    served: Running, method: str, path: str, content: bytes | None, status: int, kind: str, message: str
) -> None:
    response = served.http.request(method, path, content=content)
    body = response.json()
    assert response.status_code == status and body.keys() == {"type", "error"} and body["type"] == "error"
    assert body["error"]["type"] == kind and body["error"]["message"].startswith(message)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
            "A content is text; this server",
        ),
        ({"messages": [{"role": "user", "content": 1}]}, "A content in messages is a text or a list of blocks."),
        ({"messages": [{"role": "pope", "content": "a"}]}, "The role of a message"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "Tools are functions; this server has no"),
        ({"tool_choice": {"type": "all"}}, "The type of tool_choice is auto, any, tool or none, not 'all'."),
        ({"temperature": -1}, "temperature is a number from 0, not -1."),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_what_cannot_be_asked_is_told(served: Running, more: dict[str, Any], message: str, stream: bool) -> None:
    response = served.post("/v1/messages", {"messages": MESSAGES, "max_tokens": 1, "stream": stream, **more})
    assert response.status_code == 400 and response.json()["error"]["message"].startswith(message)


def test_the_client_raises_errors_of_their_kinds(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="There is no model 'other'"):
        client.messages.create(model="other", messages=MESSAGES, max_tokens=1)
