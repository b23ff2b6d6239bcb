"""Texts that follow grammars: expressions, choices, Lark, JSON; what is forced, and what is refused."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from sterna import LLM, AsyncLLM
from sterna.engine.generation import Completion, Constraint
from sterna.engine.grammar import Grammar, GrammarError, Grammars, compiler
from sterna.engine.request import Request
from sterna.errors import ArgumentError
from sterna.model.tokenizer import Tokenizer

from .helpers import shared

PROMPT = "The old man looked at the sea and"
RECORD = {
    "type": "object",
    "properties": {"name": {"enum": ["Anna", "Otto"]}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def llm() -> LLM:
    """The embedded model."""
    return LLM(threads=2)


def completed(llm: LLM, **options: Any) -> Completion:
    (completion,) = llm.complete([PROMPT], **{"max_tokens": 80, "temperature": 1.0, "seed": 5, **options})
    return completion


@pytest.mark.parametrize(
    "pattern",
    [r"[a-z]{3}/\d\d", "(yes|no)", r"\n[^\n]{1,5}\n", "^a+b$", "é{2}[äö]", "", r"\\{2}", "a\nb", "a\\\nb", r"\/[/]"],
)
def test_an_expression_matches_the_whole_text(llm: LLM, pattern: str) -> None:
    for seed in range(5):
        completion = completed(llm, regex=pattern, seed=seed)
        assert completion.stop_reason == "length" or re.fullmatch(pattern, completion.text)


@pytest.mark.parametrize(
    "choices", [["yes", "no"], ["", "\x7f", 'a"b\\c'], ["😀", "日本", "\n\t"], ["in", "inter", "internal"]]
)
def test_a_choice_is_one_of_the_texts(llm: LLM, choices: list[str]) -> None:
    assert {completed(llm, choice=choices, seed=seed, temperature=3.0).text for seed in range(12)} <= set(choices)


def test_lark_may_hold_schemas_and_tokens(llm: LLM) -> None:
    (eos,) = llm.tokenizer.eos_ids
    text = completed(
        llm,
        grammar='start: "x" %json {"const": [1], "x-guidance": {"whitespace_flexible": false}} NUM\nNUM: /[0-9]{2}/',
    ).text
    assert re.fullmatch(r"x\[1\][0-9]{2}", text)
    assert completed(llm, grammar="start: <[65]> <[66]>").token_ids == [65, 66, eos]


def test_json_objects_are_compact(llm: LLM) -> None:
    (completion,) = llm.complete([PROMPT], json_schema={"type": "object", "maxProperties": 0}, max_tokens=9)
    assert completion.text == "{}"
    texts = llm.generate([PROMPT] * 8, grammar=Grammar.json_object(), temperature=1.0, max_tokens=400)
    for text in texts:
        assert text.startswith("{") and text[1:2] in ('"', "}")


def test_the_end_of_text_comes_only_where_the_text_is_complete(llm: LLM) -> None:
    (eos,) = llm.tokenizer.eos_ids
    completion = completed(llm, regex="[ab]{3}", logit_bias={eos: 1e6})
    assert len(completion.text) == 3 and completion.stop_reason == "eos"
    early = completed(llm, regex="[ab]{1,60}", logit_bias={eos: 1e6})
    assert len(early.text) == len(early.token_ids) - 1 or early.text
    cut = completed(llm, json_schema=RECORD, max_tokens=3)
    assert cut.stop_reason == "length" and cut.completion_tokens == 3


class Spelled:
    """Three tokens in turn, of which the second and third are the only ones allowed; forced or masked."""

    def __init__(self, words: int, forces: bool) -> None:
        self.words, self.forces, self.ids = words, forces, [[70, 71, 72, 73], [300], [301], [80, 81, 82, 83]]
        self.count = 0

    def mask(self) -> np.ndarray:
        mask = np.zeros(self.words, np.uint32)
        for token in self.ids[self.count % 4]:
            mask[token // 32] |= np.uint32(1 << token % 32)
        return mask

    def advance(self, token_id: int) -> None:
        assert token_id in self.ids[self.count % 4]
        self.count += 1

    def forced(self) -> Sequence[int]:
        return (300, 301) if self.forces and self.count % 4 == 1 else ()


def run(llm: LLM, constraint: Constraint, **options: Any) -> tuple[Completion, str]:
    """The completion, and its text as it was delivered."""
    finished: SimpleQueue[Request] = SimpleQueue()
    pieces: list[str] = []
    generation = llm.generation(
        PROMPT, done=finished.put, deliver=pieces.append, constraint=constraint, ignore_eos=True, **options
    )
    llm.submit([generation])
    finished.get(timeout=60)
    assert generation.error is None
    return generation.completion(), "".join(pieces)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 1.3, "seed": 2},
        {"max_tokens": 18},
        {"max_tokens": 19, "temperature": 2.0, "seed": 3},
        {"stop": ("stop",)},
        {"logprobs": 2},
        {"repetition_penalty": 1.4, "presence_penalty": 0.5, "frequency_penalty": 0.1},
        {"min_tokens": 9},
        {"echo": True},
        {"echo": True, "logprobs": 1},
    ],
    ids=str,
)
def test_forced_tokens_change_nothing_but_the_number_of_passes(llm: LLM, options: dict[str, Any]) -> None:
    options = {"max_tokens": 24, **options}
    if "stop" in options:
        options["stop"] = llm.tokenizer.decode([300, 301])[1:4]
    words = -(-llm.vocab_size // 32)
    (chosen, streamed), (forced, streamed_too) = (
        run(llm, Spelled(words, forces), **options) for forces in (False, True)
    )
    assert forced.token_ids == chosen.token_ids and forced.text == chosen.text == streamed == streamed_too
    assert forced.stop_reason == chosen.stop_reason and forced.completion_tokens == chosen.completion_tokens
    assert forced.logprobs == chosen.logprobs
    assert chosen.forced_tokens == 0 and (forced.forced_tokens > 0) is ("logprobs" not in options)


def test_forced_tokens_of_many_texts_share_passes_fairly(llm: LLM) -> None:
    alone = completed(llm, json_schema=RECORD)
    plain = llm.generate("Once", max_tokens=40)
    together = llm.complete([PROMPT] * 70, json_schema=RECORD, max_tokens=80, temperature=1.0, seed=5)
    assert {c.text for c in together} == {alone.text} and alone.forced_tokens > 3
    assert all(c.forced_tokens == alone.forced_tokens for c in together)
    assert llm.generate("Once", max_tokens=40) == plain


def test_the_text_with_log_probabilities_has_no_forced_tokens_but_the_same_form(llm: LLM) -> None:
    completion = completed(llm, json_schema=RECORD, logprobs=1)
    assert completion.forced_tokens == 0 and completion.logprobs is not None
    assert [entry.token_id for entry in completion.logprobs] == completion.token_ids
    assert json.loads(completion.text).keys() == {"name", "age"}


def test_streams_and_chats_and_tasks_follow_grammars(llm: LLM) -> None:
    import asyncio

    options: dict[str, Any] = {"choice": ["yes", "no"], "max_tokens": 8}
    assert "".join(llm.stream(PROMPT, **options)) in ("yes", "no")
    assert llm.chat([{"role": "user", "content": "Well?"}], **options) in ("yes", "no")
    assert asyncio.run(AsyncLLM(llm).generate(PROMPT, **options)) in ("yes", "no")


@pytest.mark.parametrize(
    "options",
    [
        {"regex": "(a"}, {"regex": "(?=a)b"}, {"regex": r"(a)\1"}, {"regex": r"\bfoo"}, {"regex": 5},
        {"regex": "\ud800"},
        {"choice": []}, {"choice": "yes"}, {"choice": ["a", 1]}, {"grammar": "start: x"}, {"grammar": "nothing"},
        {"grammar": "root ::= x"}, {"grammar": 5}, {"grammar": "start: <think>"}, {"json_schema": 5},
        {"json_schema": "{"},
        {"json_schema": {"enum": [float("nan")]}}, {"json_schema": {"a": "x" * 70_000}}, {"json_schema": "x" * 70_000},
        {"json_schema": {"enum": ["\ud800"]}}, {"json_schema": {"const": object()}},
    ],
    ids=ascii,
)  # fmt: skip
def test_what_is_no_grammar_is_refused_in_a_sentence(llm: LLM, options: dict[str, Any]) -> None:
    with pytest.raises(GrammarError, match=r"^[^\n]+\.$"):
        llm.generate(PROMPT, max_tokens=4, **options)


def test_schemas_are_not_too_deep(llm: LLM) -> None:
    schema: dict[str, Any] = {}
    for _ in range(63):
        schema = {"items": schema}
    llm.grammars.compile(Grammar.json_schema(schema))
    for deep in ({"items": schema}, json.dumps({"items": schema}), "[" * 30_000):
        with pytest.raises(GrammarError):
            Grammar.json_schema(deep)


def test_long_chains_of_references_need_no_stack_of_the_callers(llm: LLM) -> None:
    links = {f"a{n}": {"items": {"$ref": f"#/$defs/a{n + 1}"}} for n in range(1500)}
    llm.grammars.compile(Grammar.json_schema({"$defs": {**links, "a1500": {"type": "null"}}, "$ref": "#/$defs/a0"}))
    rules = "".join(f"r{n}: r{n + 1}\n" for n in range(4000))
    llm.grammars.compile(Grammar.lark(f'start: r0\n{rules}r4000: "a"\n'))


def test_one_form_and_an_end(llm: LLM) -> None:
    with pytest.raises(ArgumentError, match="regex or choice"):
        llm.generate(PROMPT, regex="a", choice=["a"])
    with pytest.raises(ArgumentError, match="ignore_eos"):
        llm.generate(PROMPT, regex="a", ignore_eos=True)
    with pytest.raises(ArgumentError, match="not both"):
        llm.generation(PROMPT, done=lambda _: None, regex="a", constraint=Spelled(1, False))


def test_threads_that_ask_together_share_the_compiled_grammars(monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2)
    original = Grammars.__init__

    def slow(self: Grammars, tokenizer: Tokenizer, vocab_size: int) -> None:
        both.wait(10)
        original(self, tokenizer, vocab_size)

    monkeypatch.setattr(Grammars, "__init__", slow)
    found: list[Grammars] = []
    with LLM(threads=1) as llm:
        threads = [threading.Thread(target=lambda: found.append(llm.grammars)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 2 and found[0] is found[1]


def test_what_takes_too_long_is_refused(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "SECONDS", 0.05)
    release = threading.Event()
    grammars = Grammars(llm.tokenizer, llm.vocab_size)
    with monkeypatch.context() as patch:
        patch.setattr(Grammars, "_matcher", lambda self, text: release.wait(60))
        for word in ("more than", "more than", "Other grammars"):
            with pytest.raises(GrammarError, match=word):
                grammars.compile(Grammar.regex("a"))
    release.set()


AMBIGUOUS = [
    "start: s\ns: " + " | ".join(["s s"] * 500) + ' | "a"',
    'start: %lark { start: s\ns: "a"' + "| A s" * 500 + "\nA: /[a-z]*/ }",
    'start: %json {"$ref": "#/$defs/x", "$defs": {"x": {"anyOf": [' + '{"$ref": "#/$defs/x"},' * 500 + "{}]}}}",
    'root ::= "a"' + " | root root" * 500,
]


@pytest.mark.parametrize("text", AMBIGUOUS, ids=lambda text: text[:20])
def test_what_would_take_long_for_every_token_is_refused(text: str) -> None:
    with pytest.raises(GrammarError, match="too long to follow: .*alternatives"):
        Grammar.of(grammar=text)


def test_many_alternatives_that_are_not_ambiguous_are_possible(llm: LLM) -> None:
    words = "start: word (SPACE word)*\nSPACE: / /\nword: " + " | ".join(f'"w{n}"' for n in range(1000))
    sums = 'start: sum\nsum: sum "+" sum | sum "-" sum | "(" sum ")" | N\nN: /[0-9]+/'
    for text, answer in ((words, "w5 w999 w17"), (sums, "12+(3-4)-567")):
        constraint = llm.grammars.compile(Grammar.lark(text))
        for token in [*llm.tokenizer.encode_continuation(answer), min(llm.tokenizer.eos_ids)]:
            constraint.mask()
            constraint.advance(token)
    name = {"anyOf": [{"$ref": "#/$defs/name"}, {"type": "null"}]}
    schema = {"properties": {f"p{n}": name for n in range(500)}, "$defs": {"name": {"enum": ["a", "b"]}}}
    llm.grammars.compile(Grammar.json_schema(schema))


def test_schemas_cannot_switch_checks_off(llm: LLM) -> None:
    schema = {"x-guidance": {"whitespace_flexible": True, "lenient": True}, "type": "object", "maxProperties": 0}
    assert llm.generate(PROMPT, json_schema=schema, max_tokens=9) == "{}"
    lark = 'start: %json {"x-guidance": {"lenient": true}, "type": "array", "uniqueItems": true}'
    with pytest.raises(GrammarError, match="uniqueItems"):
        llm.generate(PROMPT, grammar=lark)


@pytest.mark.parametrize("entry", ["date", "date-time"])
@pytest.mark.parametrize(
    ("day", "exists"),
    [("2024-02-29", True), ("2023-02-29", False), ("1900-02-29", False), ("2000-02-29", True), ("0000-01-01", False),
     ("2026-04-31", False), ("2026-12-31", True), ("0400-02-29", True), ("2026-13-01", False), ("2026-01-00", False),
     ("0001-01-01", True), ("9999-02-28", True), ("2026-11-30", True), ("2026-02-30", False), ("1000-09-30", True)],
)  # fmt: skip
def test_dates_exist(llm: LLM, entry: str, day: str, exists: bool) -> None:
    constraint = llm.grammars.compile(Grammar.json_schema({"type": "string", "format": entry}))
    tokens = llm.tokenizer.encode_continuation(f'"{day}"' if entry == "date" else f'"{day}T23:59:59Z"')
    if exists:
        for token in tokens:
            constraint.advance(token)
    else:
        with pytest.raises(GrammarError):
            for token in tokens:
                constraint.advance(token)


@pytest.mark.parametrize(
    "name", ["ggml-vocab-llama-spm.gguf", "ggml-vocab-gpt-2.gguf", "ggml-vocab-phi-3.gguf", "llama3-tokenizer.model"]
)
def test_every_kind_of_vocabulary_spells_what_is_forced(name: str) -> None:
    tokenizer = Tokenizer(shared("vocab", name))
    grammars = Grammars(tokenizer, tokenizer.vocab_size + 40)
    constraint = grammars.compile(Grammar.json_schema({"const": {"schöne Grüße": ["  a b", "日本\n"]}}))
    ids: list[int] = []
    while not ids or ids[-1] not in tokenizer.eos_ids:
        mask = np.unpackbits(constraint.mask().view(np.uint8), bitorder="little")
        assert mask[tokenizer.vocab_size :].sum() == 0
        for token in constraint.forced() or [int(mask.nonzero()[0][-1])]:
            constraint.advance(token)
            ids.append(token)
    assert json.loads(tokenizer.decode(ids, continuation=True)) == {"schöne Grüße": ["  a b", "日本\n"]}
