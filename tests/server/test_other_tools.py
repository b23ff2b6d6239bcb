"""Tools and forms through Anthropic's and Ollama's clients, on the embedded model, whose calls a grammar shapes."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import ollama
import pytest

from tests.server.conftest import Running

QUESTION: Any = [{"role": "user", "content": "Which ship is in Kiel?"}]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"enum": ["Kiel", "Riga"]}, "masts": {"type": "integer", "minimum": 1, "maximum": 3}},
    "required": ["city", "masts"],
    "additionalProperties": False,
}
TOOLS: Any = [
    {"name": "find_ship", "description": "Finds a ship.", "input_schema": SCHEMA},
    {"name": "now", "input_schema": {"type": "object", "properties": {}, "additionalProperties": False}},
]
FUNCTIONS: Any = [
    {"type": "function", "function": {"name": tool["name"], "parameters": tool["input_schema"]}} for tool in TOOLS
]
KNOWN: dict[str, Any] = {"model": "sterna-tern", "max_tokens": 200}
NAMED: Any = {"type": "tool", "name": "find_ship", "disable_parallel_tool_use": True}


@pytest.fixture(scope="module")
def client(served: Running) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=served.url, api_key="none", max_retries=0)


def check(arguments: Any) -> None:
    assert arguments.keys() == {"city", "masts"} and arguments["city"] in ("Kiel", "Riga")
    assert arguments["masts"] in (1, 2, 3)


@pytest.mark.parametrize("seed", range(3))
def test_a_tool_is_called_and_its_result_sent_back(client: anthropic.Anthropic, seed: int) -> None:
    asked: dict[str, Any] = {"tools": TOOLS, "tool_choice": NAMED, "extra_body": {"seed": seed}, **KNOWN}
    message = client.messages.create(messages=QUESTION, **asked)
    (block,) = message.content
    assert block.type == "tool_use" and block.name == "find_ship" and message.stop_reason == "tool_use"
    check(block.input)
    with client.messages.stream(messages=QUESTION, **asked) as stream:
        streamed = stream.get_final_message()
    assert [(each.type, getattr(each, "input", None)) for each in streamed.content] == [("tool_use", block.input)]
    result = {"type": "tool_result", "tool_use_id": block.id, "content": "The Gull."}
    history: Any = [*QUESTION, message.to_param(), {"role": "user", "content": [result]}]
    after = client.messages.create(messages=history, tools=TOOLS, tool_choice={"type": "none"}, **KNOWN)
    assert all(each.type == "text" for each in after.content)


def test_any_tool_means_one_of_them(client: anthropic.Anthropic) -> None:
    choice: Any = {"type": "any", "disable_parallel_tool_use": True}
    for seed in range(4):
        message = client.messages.create(
            messages=QUESTION, tools=TOOLS, tool_choice=choice, extra_body={"seed": seed}, **KNOWN
        )
        assert [getattr(block, "name", "") in ("find_ship", "now") for block in message.content] == [True]


def test_a_call_without_arguments_has_an_empty_object(client: anthropic.Anthropic) -> None:
    choice: Any = {"type": "tool", "name": "now", "disable_parallel_tool_use": True}
    message = client.messages.create(messages=QUESTION, tools=TOOLS, tool_choice=choice, **KNOWN)
    assert getattr(message.content[0], "input", None) == {}


def test_a_call_that_the_limit_breaks_off_is_no_call(client: anthropic.Anthropic) -> None:
    message = client.messages.create(
        messages=QUESTION, tools=TOOLS, tool_choice=NAMED, model="sterna-tern", max_tokens=12
    )
    assert message.stop_reason == "max_tokens"
    assert all(block.type == "text" for block in message.content)


def test_the_answer_has_the_form_that_is_asked_for(served: Running, client: anthropic.Anthropic) -> None:
    config: Any = {"format": {"type": "json_schema", "schema": SCHEMA}}
    message = client.messages.create(messages=QUESTION, output_config=config, **KNOWN)
    check(json.loads(getattr(message.content[0], "text", "")))
    assert message.stop_reason == "end_turn"
    with pytest.raises(anthropic.BadRequestError, match="not 'xml'"):
        client.messages.create(messages=QUESTION, output_config={"format": {"type": "xml"}}, **KNOWN)  # type: ignore[typeddict-item]


def test_ollamas_tools_may_be_called(served: Running) -> None:
    """Ollama's API cannot ask for a call, so that it is only seen that tools are taken and answers come."""
    with ollama.Client(host=served.url) as client:
        reply = client.chat("sterna-tern", QUESTION, tools=FUNCTIONS, options={"num_predict": 30, "seed": 3})
        assert reply.message.content or reply.message.tool_calls
        call = {"function": {"name": "find_ship", "arguments": {"city": "Kiel", "masts": 2}}}
        history: Any = [
            *QUESTION,
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_name": "find_ship", "content": "The Gull."},
        ]
        assert client.chat("sterna-tern", history, tools=FUNCTIONS, options={"num_predict": 5}).eval_count == 5


@pytest.mark.parametrize("stream", [True, False])
def test_ollamas_formats_hold(served: Running, stream: bool) -> None:
    with ollama.Client(host=served.url) as client:
        options = {"seed": 1, "num_predict": 120}
        for form in (SCHEMA, "json"):
            given: dict[str, Any] = {"format": form, "options": options, "stream": stream}
            chat: Any = client.chat("sterna-tern", QUESTION, **given)
            text = "".join(part.message.content for part in chat) if stream else chat.message.content
            generated: Any = client.generate("sterna-tern", "A ship: ", **given)
            continued = "".join(part.response for part in generated) if stream else generated.response
            for each in (text, continued):
                if form == "json":
                    assert each.startswith("{")
                else:
                    check(json.loads(each))
        with pytest.raises(ollama.ResponseError, match="uniqueItems"):
            list(client.chat("sterna-tern", QUESTION, format={"uniqueItems": True}, stream=True))
