"""Calls of tools and thoughts in OpenAI's API, by OpenAI's client."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import openai
import pytest

from sterna.engine.grammar import Grammar
from sterna.server.openai.response_input import input_messages
from tests.server.conftest import Running

MESSAGES: Any = [{"role": "user", "content": "What is the weather?"}]
WEATHER: dict[str, Any] = {
    "name": "weather",
    "description": "The weather of a day.",
    "parameters": {
        "type": "object",
        "properties": {
            "day": {"enum": ["Monday", "Tuesday"]},
            "hours": {"type": "array", "items": {"enum": [1, 2]}, "maxItems": 2},
        },
        "required": ["day"],
        "additionalProperties": False,
    },
}
TIDE: dict[str, Any] = {"name": "tide", "parameters": {"type": "object", "properties": {"port": {"enum": ["Brest"]}}}}
TOOLS: Any = [{"type": "function", "function": WEATHER}, {"type": "function", "function": TIDE}]
BODY: dict[str, Any] = {"model": "sterna-tern", "messages": MESSAGES, "tools": TOOLS, "max_tokens": 150}
REQUIRED: dict[str, Any] = {**BODY, "tool_choice": "required", "parallel_tool_calls": False}
"""Of several calls the embedded model finds no end."""


def check(name: str, arguments: str) -> None:
    values = json.loads(arguments)
    if name == "weather":
        assert values["day"] in ("Monday", "Tuesday") and values.keys() <= {"day", "hours"}
    else:
        assert name == "tide" and values in ({}, {"port": "Brest"})


@pytest.mark.parametrize("seed", range(3))
def test_a_call_that_is_required_comes_with_arguments_that_are_valid(served: Running, seed: int) -> None:
    answer = served.openai.chat.completions.create(**REQUIRED, seed=seed)
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    calls: Any = choice.message.tool_calls
    assert calls and len({call.id for call in calls}) == len(calls)
    for call in calls:
        check(call.function.name, call.function.arguments)
    streamed = served.events("/v1/chat/completions", {**REQUIRED, "seed": seed, "stream": True})
    pieces = [call for chunk in streamed for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
    whole = {
        index: (
            next(piece["function"]["name"] for piece in pieces if piece["index"] == index and "id" in piece),
            "".join(piece["function"]["arguments"] for piece in pieces if piece["index"] == index),
        )
        for index in {piece["index"] for piece in pieces}
    }
    assert list(whole.values()) == [(call.function.name, call.function.arguments) for call in calls]
    assert streamed[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_one_tool_can_be_named(served: Running) -> None:
    named: Any = {"type": "function", "function": {"name": "tide"}}
    for seed in range(3):
        answer = served.openai.chat.completions.create(**BODY, tool_choice=named, seed=seed)
        assert [call.function.name for call in answer.choices[0].message.tool_calls or ()] == ["tide"]


SHIP = {
    "type": "object",
    "properties": {"masts": {"enum": [1, 2, 3]}},
    "required": ["masts"],
    "additionalProperties": False,
}


def test_with_tools_and_a_form_an_answer_is_a_call_or_has_the_form(served: Running) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "ship", "schema": SHIP}}
    body = {**BODY, "response_format": form, "parallel_tool_calls": False, "temperature": 2}
    kinds = set()
    for seed in range(12):
        (choice,) = served.post("/v1/chat/completions", {**body, "seed": seed}).json()["choices"]
        message, calls = choice["message"], choice["message"].get("tool_calls", [])
        kinds.add(choice["finish_reason"])
        if calls:
            assert choice["finish_reason"] == "tool_calls" and message["content"] is None
            check(calls[0]["function"]["name"], calls[0]["function"]["arguments"])
        else:
            assert choice["finish_reason"] == "stop" and json.loads(message["content"])["masts"] in (1, 2, 3)
    assert kinds == {"stop", "tool_calls"}
    (choice,) = served.post("/v1/chat/completions", {**body, "tool_choice": "required"}).json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    (choice,) = served.post("/v1/chat/completions", {**body, "tool_choice": "none"}).json()["choices"]
    assert json.loads(choice["message"]["content"]).keys() == {"masts"}


def test_an_answer_may_have_several_calls(served: Running) -> None:
    answer = served.openai.chat.completions.create(**BODY, tool_choice="required", seed=1)
    calls: Any = answer.choices[0].message.tool_calls
    assert len(calls) > 1 and len({call.id for call in calls}) == len(calls)
    for call in calls[:-1]:  # the last one may be cut by max_tokens
        check(call.function.name, call.function.arguments)


def test_the_helper_of_the_client_puts_calls_together(served: Running) -> None:
    with served.openai.chat.completions.stream(**REQUIRED, seed=1) as stream:
        stream.until_done()
        message = stream.get_final_completion().choices[0].message
    assert message.tool_calls
    for call in message.tool_calls:
        check(call.function.name, call.function.arguments)


def test_without_a_choice_of_tools_the_answer_is_a_text(served: Running) -> None:
    plain = served.openai.chat.completions.create(model="sterna-tern", messages=MESSAGES, max_tokens=20, seed=1)
    none = served.openai.chat.completions.create(**{**BODY, "max_tokens": 20}, tool_choice="none", seed=1)
    assert none.choices[0].message.content == plain.choices[0].message.content
    auto = served.openai.chat.completions.create(**{**BODY, "max_tokens": 20}, seed=1)
    assert auto.choices[0].message.content and auto.usage and plain.usage
    assert auto.usage.prompt_tokens > plain.usage.prompt_tokens  # the model is told of the tools


def test_calls_of_a_conversation_go_back_to_the_model(served: Running) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"day": "Monday"}'}}
    history: Any = [
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
    ]
    answer = served.openai.chat.completions.create(**{**BODY, "messages": history, "max_tokens": 8})
    assert answer.choices[0].message
    call["function"]["arguments"] = '{"day": "Mon'  # type: ignore[index]
    again = served.openai.chat.completions.create(**{**BODY, "messages": history, "max_tokens": 8})
    assert again.choices[0].message


def test_responses_have_calls_too(served: Running) -> None:
    tools: Any = [{"type": "function", **WEATHER}, {"type": "function", "strict": None, **TIDE}]
    known: dict[str, Any] = {"model": "sterna-tern", "input": "The weather?", "tools": tools, "tool_choice": "required"}
    known |= {"parallel_tool_calls": False}
    seed: Any = {"extra_body": {"seed": 3}}
    answer: Any = served.openai.responses.create(**known, **seed)
    assert answer.status == "completed" and answer.output
    for item in answer.output:
        assert item.type == "function_call" and item.status == "completed"
        check(item.name, item.arguments)
    events: Any = list(served.openai.responses.create(**known, **seed, stream=True))
    done = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert [(event.name, event.arguments) for event in done] == [(item.name, item.arguments) for item in answer.output]
    deltas = "".join(event.delta for event in events if event.type == "response.function_call_arguments.delta")
    assert deltas == "".join(item.arguments for item in answer.output)
    named: Any = {"type": "function", "name": "tide"}
    only: Any = served.openai.responses.create(**{**known, "tool_choice": named}, **seed)
    assert [item.name for item in only.output] == ["tide"]
    history = [
        {"role": "user", "content": "The weather?"},
        *[item.model_dump(exclude_none=True) for item in answer.output],
        *[{"type": "function_call_output", "call_id": item.call_id, "output": "Rain."} for item in answer.output],
    ]
    final: Any = served.openai.responses.create(
        **{**known, "input": history, "tool_choice": "auto", "max_output_tokens": 8}
    )
    assert final.output[0].type == "message"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tools": [{"type": "function"}]}, "tool"),
        ({"tools": [{"type": "retrieval"}]}, "tool"),
        ({"tool_choice": {"type": "function", "function": {"name": "moon"}}}, "moon"),
        ({"tool_choice": "perhaps"}, "perhaps"),
        ({"tools": [], "tool_choice": "required"}, "required"),
        (
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {
                            **TIDE,
                            "parameters": {
                                "type": "object",
                                "properties": {"a": {"type": "array", "uniqueItems": True}},
                            },
                        },
                    }
                ]
            },
            "uniqueItems",
        ),
    ],
)
def test_tools_that_cannot_be_are_an_error(served: Running, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(openai.BadRequestError, match=words):
        served.openai.chat.completions.create(**{**BODY, **fields})


TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "assistant:{% if enable_thinking is not defined or enable_thinking %}<think>\n{% else %}<think></think>{% endif %}"
)


def test_thoughts_come_apart_from_the_answer(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = served.llm.tokenizer
    monkeypatch.setattr(tokenizer, "_vocabulary", replace(tokenizer._vocabulary, chat_template=TEMPLATE))
    body: dict[str, Any] = {"model": "sterna-tern", "messages": MESSAGES, "max_tokens": 12, "temperature": 0}
    thought = served.llm.chat(MESSAGES, max_tokens=12).strip()
    answer: Any = served.openai.chat.completions.create(**body)
    assert answer.choices[0].message.reasoning_content == thought and answer.choices[0].message.content == ""
    assert answer.usage.completion_tokens_details.reasoning_tokens == 12
    chunks = served.events("/v1/chat/completions", {**body, "stream": True})
    assert "".join(chunk["choices"][0]["delta"].get("reasoning_content", "") for chunk in chunks) == thought
    plain: Any = served.openai.chat.completions.create(**body, extra_body={"reasoning_format": "none"})
    assert plain.choices[0].message.content.strip() == thought
    prompt = tokenizer.encode_chat(MESSAGES, enable_thinking=False)
    without = served.llm.generate(prompt, max_tokens=12)
    for fields in ({"reasoning_effort": "none"}, {"chat_template_kwargs": {"enable_thinking": False}}):
        quick: Any = served.post("/v1/chat/completions", {**body, **fields}).json()
        assert quick["choices"][0]["message"]["content"].strip() == without.strip()
        assert "reasoning_content" not in quick["choices"][0]["message"]
    form: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"enum": ["aye", "nay"]}}}
    formed: Any = served.openai.chat.completions.create(**body, response_format=form, reasoning_effort="none")
    wanted = served.llm.generate(prompt, max_tokens=12, grammar=Grammar.json_schema({"enum": ["aye", "nay"]}))
    assert formed.choices[0].message.content == wanted
    pondered: Any = served.openai.chat.completions.create(**body, response_format=form)
    assert pondered.choices[0].message.reasoning_content == thought  # the form holds after it
    response: Any = served.openai.responses.create(
        model="sterna-tern", input=MESSAGES, max_output_tokens=12, temperature=0
    )
    assert response.output[0].type == "reasoning" and response.output[0].content[0].text == thought


def test_what_the_model_wrote_in_one_turn_is_one_message() -> None:
    def call(name: str) -> dict[str, Any]:
        return {"type": "function_call", "call_id": f"call_{name}", "name": name, "arguments": "{}"}

    def nested(name: str) -> dict[str, Any]:
        return {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": "{}"}}

    items: list[dict[str, Any]] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me see."}]},
        call("a"),
        call("b"),
        {"type": "function_call_output", "call_id": "call_a", "output": [{"type": "input_text", "text": "1"}]},
        {"type": "function_call_output", "call_id": "call_b", "output": "2"},
        {"role": "assistant", "content": "One."},
        {"role": "assistant", "content": "Two."},
    ]
    assert input_messages(items, "Speak English.") == [
        {"role": "system", "content": "Speak English."},
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "reasoning_content": "Hm.",
            "content": "Let me see.",
            "tool_calls": [nested("a"), nested("b")],
        },
        {"role": "tool", "tool_call_id": "call_a", "content": "1"},
        {"role": "tool", "tool_call_id": "call_b", "content": "2"},
        {"role": "assistant", "content": "One."},
        {"role": "assistant", "content": "Two."},
    ]
