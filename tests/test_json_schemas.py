"""Answers that follow JSON schemas: 200 that compile, and others of which each is refused by name.

The schemas were fixed before the first run. Texts and lists in them are bounded, as a weak model ends them by chance.
"""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from sterna import LLM
from sterna.engine.grammar import Grammar, GrammarError

from .helpers import DATA


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / "server" / name).read_text().splitlines()]


SCHEMAS, REFUSED = lines("schemas.jsonl"), lines("refused_schemas.jsonl")


@pytest.fixture(scope="module")
def llm() -> LLM:
    """The embedded model."""
    return LLM(threads=2)


def validator(schema: Any) -> Any:
    kind = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
    return kind(schema, format_checker=kind.FORMAT_CHECKER)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))])
def test_finished_answers_validate_and_nearly_all_finish(llm: LLM, seed: int) -> None:
    finished = 0
    for entry in SCHEMAS:
        shortest = json.dumps(entry["shortest"], separators=(",", ":"), ensure_ascii=False)
        tokens = len(llm.tokenizer.encode(shortest, add_special=False))
        (answer,) = llm.complete(
            ["The answer is"],
            json_schema=entry["schema"],
            max_tokens=4 * tokens + 64,
            temperature=1.0,
            seed=seed,
        )
        if answer.stop_reason == "eos":
            finished += 1
            validator(entry["schema"]).validate(json.loads(answer.text))
    assert len(SCHEMAS) == 200 and finished >= 190


@pytest.mark.parametrize("entry", SCHEMAS, ids=lambda entry: entry["name"])
def test_the_shortest_answers_are_valid_and_allowed(llm: LLM, entry: dict[str, Any]) -> None:
    validator(entry["schema"]).validate(entry["shortest"])
    constraint = llm.grammars.compile(Grammar.json_schema(entry["schema"]))
    text = json.dumps(entry["shortest"], separators=(",", ":"), ensure_ascii=False)
    for token in [*llm.tokenizer.encode_continuation(text), *llm.tokenizer.eos_ids]:
        constraint.advance(token)


@pytest.mark.parametrize("entry", REFUSED, ids=lambda entry: entry["name"])
def test_what_cannot_be_compiled_is_refused_by_name(llm: LLM, entry: dict[str, Any]) -> None:
    with pytest.raises(GrammarError) as caught:
        llm.generate("The answer is", json_schema=entry["schema"], max_tokens=4)
    sentence = str(caught.value)
    assert entry["names"] in sentence and sentence.endswith(".") and "\n" not in sentence
