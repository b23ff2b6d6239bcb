"""Texts that have a form: JSON schemas, expressions, choices and grammars, by every endpoint."""

from __future__ import annotations

import json
import re
from typing import Any

import openai
import pytest
from pydantic import BaseModel, ConfigDict, Field

from sterna.engine.grammar import Grammar
from tests.server.conftest import Running

MESSAGES: Any = [{"role": "user", "content": "A ship, please."}]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "masts": {"enum": [1, 2, 3]}},
    "required": ["name", "masts"],
    "additionalProperties": False,
}
FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "ship", "strict": True, "schema": SCHEMA}}


class Ship(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=8)
    masts: int = Field(ge=1, le=9)


def check(text: str | None) -> None:
    value = json.loads(text or "")
    assert value.keys() == {"name", "masts"} and value["masts"] in (1, 2, 3) and len(value["name"]) <= 8


@pytest.mark.parametrize("seed", range(4))
def test_a_schema_holds_in_chats(served: Running, seed: int) -> None:
    body: dict[str, Any] = {"model": "sterna-tern", "messages": MESSAGES, "seed": seed, "max_tokens": 80}
    answer = served.openai.chat.completions.create(**body, response_format=FORMAT)
    check(answer.choices[0].message.content)
    assert answer.choices[0].finish_reason == "stop"
    streamed = served.events("/v1/chat/completions", {**body, "response_format": FORMAT, "stream": True})
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in streamed)
    assert text == answer.choices[0].message.content
    prompt = served.llm.tokenizer.encode_chat(MESSAGES)
    assert text == served.llm.generate(
        prompt, temperature=1, seed=seed, max_tokens=80, grammar=Grammar.json_schema(SCHEMA)
    )


def test_choices_of_one_prompt_each_have_the_form(served: Running) -> None:
    answer = served.post(
        "/v1/chat/completions", {"messages": MESSAGES, "n": 3, "max_tokens": 80, "response_format": FORMAT}
    ).json()
    for choice in answer["choices"]:
        check(choice["message"]["content"])


def test_the_client_parses_a_class(served: Running) -> None:
    parsed = served.openai.chat.completions.parse(
        model="sterna-tern", messages=MESSAGES, response_format=Ship, max_tokens=80, seed=2
    )
    assert isinstance(parsed.choices[0].message.parsed, Ship)
    response = served.openai.responses.parse(model="sterna-tern", input="A ship", text_format=Ship)
    assert isinstance(response.output_parsed, Ship)


def test_a_json_object_is_one(served: Running) -> None:
    body = {"messages": MESSAGES, "response_format": {"type": "json_object"}, "max_tokens": 60}
    texts = [
        choice["message"]["content"]
        for choice in served.post("/v1/chat/completions", {**body, "n": 4, "seed": 1}).json()["choices"]
    ]
    assert all(text.startswith("{") for text in texts)


@pytest.mark.parametrize(
    ("form", "pattern"),
    [
        ({"regex": "[a-c]{4}!"}, "[a-c]{4}!"),
        ({"choice": ["aye", "nay"]}, "aye|nay"),
        ({"grammar": 'root ::= "ship" [0-9] [0-9]'}, r"ship\d\d"),
        ({"grammar": 'start: "ship" /[0-9]/'}, r"ship\d"),
        ({"json_schema": {"enum": ["port", "lee"]}}, '"port"|"lee"'),
    ],
)
def test_other_forms_hold_in_completions_and_chats(served: Running, form: dict[str, Any], pattern: str) -> None:
    answer = served.post("/v1/completions", {"prompt": "The", **form, "n": 3, "seed": 1, "max_tokens": 40}).json()
    for choice in answer["choices"]:
        assert re.fullmatch(pattern, choice["text"]) and choice["finish_reason"] == "stop"
    chat = served.post("/v1/chat/completions", {"messages": MESSAGES, **form}).json()
    assert re.fullmatch(pattern, chat["choices"][0]["message"]["content"])


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"response_format": {"type": "yaml"}}, "'yaml'"),
        ({"response_format": {"type": "json_schema"}}, "needs a schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"uniqueItems": True}}}}, "uniqueItems"),
        ({"regex": "(?=a)"}, "."),
        ({"regex": "a", "choice": ["b"]}, "one form"),
        ({"regex": "a", "ignore_eos": True}, "ignore_eos"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_a_form_that_cannot_be_followed_is_an_error(
    served: Running, form: dict[str, Any], words: str, stream: bool
) -> None:
    with pytest.raises(openai.BadRequestError, match=words):
        served.openai.chat.completions.create(
            model="sterna-tern", messages=MESSAGES, stream=stream, max_tokens=4, extra_body=form
        )
