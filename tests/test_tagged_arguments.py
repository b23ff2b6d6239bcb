"""Arguments between tags: the schema of a parameter says what may be written, and which JSON it becomes."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from sterna import LLM
from sterna.engine.grammar import GrammarError
from sterna.server.tools import ToolUse
from tests.test_tools import TEMPLATES, text_and_calls


@pytest.fixture(scope="module")
def llm() -> LLM:
    """The embedded model."""
    return LLM(threads=2)


def use_of(schema: Any, **more: Any) -> ToolUse:
    parameters = {"type": "object", "properties": {"a": schema}, "required": ["a"], **more}
    return ToolUse(TEMPLATES["qwen3-coder"], [{"function": {"name": "f", "parameters": parameters}}], "required")


def call_of(value: str) -> str:
    return f"<tool_call>\n<function=f>\n<parameter=a>\n{value}\n</parameter>\n</function>\n</tool_call>"


def allows(llm: LLM, use: ToolUse, text: str) -> bool:
    grammar = use.grammar(llm.tokenizer)
    assert grammar is not None
    constraint = llm.grammars.compile(grammar)
    try:
        for token in [*llm.tokenizer.encode_continuation(text), min(llm.tokenizer.eos_ids)]:
            constraint.advance(token)
    except GrammarError:
        return False
    return True


def read(use: ToolUse, text: str) -> Any:
    state = use.parser()
    said, [(_, arguments)] = text_and_calls([*state.feed(text), *state.finish()])
    assert said == ""
    return json.loads(arguments)["a"]


REF = {"$ref": "#/$defs/x"}
VALUES: list[tuple[Any, dict[str, Any], list[str]]] = [
    # the schema, what its values are read as, and what cannot be written
    ({"type": "string"}, {"5": "5", "": "", 'a\n"b"\n': 'a\n"b"\n', "</b> é": "</b> é"}, ["a</parameter>b"]),
    ({"type": "string", "maxLength": 2, "minLength": 1}, {"ab": "ab"}, ["", "abc"]),
    ({"type": "string", "pattern": "^a/[0-9]+$"}, {"a/12": "a/12"}, ["a/", "a/1b"]),
    ({"type": "string", "pattern": "b"}, {"abc": "abc"}, ["ac"]),
    ({"type": "string", "format": "date"}, {"2024-02-29": "2024-02-29"}, ["2023-02-29", "today"]),
    ({"type": "string", "format": "uri"}, {"https://a.b/c?d": "https://a.b/c?d"}, ["a b"]),
    ({"enum": ["x", "1"]}, {"1": "1"}, ["2"]),
    ({"enum": ["x", 1, None]}, {"1": 1, "x": "x", "null": None}, ["y"]),
    ({"const": "x"}, {"x": "x"}, ["y"]),
    ({"type": "integer"}, {"-12": -12}, ["a", "1.5", '"1"']),
    ({"type": "boolean"}, {"true": True}, ["True", "1"]),
    ({"type": "array", "items": {"type": "string"}}, {'["a", "b"]': ["a", "b"]}, ["a", "[1]"]),
    ({"type": "object", "properties": {"b": REF}}, {'{"b": "x"}': {"b": "x"}}, ['{"b": 5}']),
    (REF, {"x": "x", "5": "5"}, []),
    ({"allOf": [REF], "description": "as pydantic writes it"}, {"x": "x"}, []),
    ({"anyOf": [{"type": "string", "maxLength": 4}, {"type": "null"}]}, {"null": None, "x": "x"}, ["abcde"]),
    ({"type": ["string", "integer"]}, {"5": 5, "five": "five"}, []),
    ({}, {"5": 5, "[": "[", "NaN": "NaN", '{"b": 1}': {"b": 1}}, []),
]


@pytest.mark.parametrize(("schema", "values", "refused"), VALUES, ids=lambda value: str(value)[:40])
def test_values_follow_the_schema_and_are_read_by_it(
    llm: LLM, schema: Any, values: dict[str, Any], refused: list[str]
) -> None:
    definitions = {"x": {"type": "string"}}
    use = use_of(schema, **{"$defs": definitions})
    for text, value in values.items():
        assert allows(llm, use, call_of(text)) and read(use, call_of(text)) == value
        jsonschema.validate({"a": value}, {"properties": {"a": schema}, "$defs": definitions})
    for text in refused:
        assert not allows(llm, use, call_of(text))


def test_what_python_writes_is_read_by_the_schema() -> None:
    assert read(use_of({"type": ["boolean", "null"]}), call_of("True")) is True
    assert read(use_of({"type": ["boolean", "null"]}), call_of("None")) is None
    assert read(use_of({"type": "string"}), call_of("None")) == "None"
    assert read(use_of({"type": "integer"}), call_of("many")) == "many"


def test_parameters_that_are_not_required_may_be_left_out(llm: LLM) -> None:
    use = use_of({"type": "integer"}, required=[])
    assert allows(llm, use, "<tool_call>\n<function=f>\n</function>\n</tool_call>") and allows(llm, use, call_of("1"))
    assert not allows(llm, use, call_of("1").replace("=a>", "=b>"))


MANY = {"anyOf": [{"$ref": "#/$defs/y"}] * 50}
CANNOT: list[tuple[Any, dict[str, Any], str]] = [
    ({"type": "string"}, {"anyOf": [{"required": ["a"]}]}, "anyOf"),
    ({"type": "string"}, {"patternProperties": {"^b": {}}}, "patternProperties"),
    ({"type": "string", "format": "ipv6"}, {}, "ipv6"),
    ({"type": "string", "not": {"const": "x"}}, {}, "not"),
    ({"type": "string", "maxLength": "x"}, {}, "maxLength"),
    ({"type": "string", "pattern": 5}, {}, "pattern"),
    ({"allOf": [{"type": "string"}, {"minLength": 1}]}, {}, "allOf"),
    ({"$ref": "#/$defs/y", "maxLength": 5}, {"$defs": {"y": {"type": "string"}}}, "maxLength"),
    ({"$ref": "#/$defs/y"}, {"$defs": {"y": MANY}}, "ref"),
    ({"$ref": "#/$defs/0"}, {"$defs": {str(n): {"$ref": f"#/$defs/{n + 1}"} for n in range(2000)}}, "ref"),
    ({"type": "integer", "uniqueItems": True, "multipleOf": "x"}, {}, "multipleOf"),
]


@pytest.mark.parametrize(("schema", "more", "named"), CANNOT, ids=lambda value: str(value)[:40])
def test_what_cannot_be_followed_between_tags_is_refused_by_name(
    llm: LLM, schema: Any, more: dict[str, Any], named: str
) -> None:
    with pytest.raises(GrammarError, match=rf"{named}[^\n]*\.$") as caught:
        grammar = use_of(schema, **more).grammar(llm.tokenizer)
        assert grammar is not None
        llm.grammars.compile(grammar)
    assert "'f'" in str(caught.value) or "multipleOf" in str(caught.value)
