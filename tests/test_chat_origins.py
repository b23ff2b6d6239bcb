"""Each character of a prompt knows whether it was typed in a message, so that messages cannot forge special tokens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.errors import ArgumentError, FormatError
from sterna.model.chat import FALLBACK_TEMPLATE, render
from sterna.model.chat.text import Text, typed, typed_mask
from sterna.model.tokenizer import Tokenizer
from sterna.model.tokenizer.special import SpecialSplitter
from tests.chat_templates import HUMAN, LLAMA3, REAL, THINKING, VARIABLES, needs_real_templates
from tests.tiny_vocabularies import SPECIAL, byte_level_json


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("chat") / "tokenizer.json"
    path.write_text(byte_level_json())
    return Tokenizer(path)


def with_template(tokenizer: Tokenizer, template: str) -> Tokenizer:
    return Tokenizer.from_gguf_metadata(tokenizer.gguf_metadata() | {"tokenizer.chat_template": template})


def test_the_templates_special_tokens_become_special_tokens(plain: Tokenizer) -> None:
    tokenizer = with_template(plain, LLAMA3)
    begin, _, turn, start, end = tokenizer.encode("".join(SPECIAL), add_special=False, parse_special=True)
    ids = tokenizer.encode_chat([{"role": "user", "content": " Hi "}])
    assert [token for token in ids if token >= begin] == [begin, start, end, turn, start, end]
    text = "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    assert tokenizer.decode(ids, skip_special=False) == SPECIAL[0] + text
    without = tokenizer.encode_chat([{"role": "user", "content": " Hi "}], add_generation_prompt=False)
    assert ids[: len(without)] == without and without[-1] == turn


ORDINARY = [
    ("{{ '<|eot_id|>%s<|eot_id|>' % messages[0].content }}", 2),
    ("{{ '<|eot_id|>{}<|eot_id|>'.format(messages[0].content) }}", 2),
    ("{{ '<|eot_id|>{c:>9}' .format(c=messages[0].content) ~ 7 }}", 1),
    ("{{ '<|eot_id|>X' | replace('X', messages[0].content) }}{{ ['<|eot_id|>', messages[0].content] | join }}", 2),
    ("{{ (messages[0].content ~ '<|eot_id|>').strip().split('>')[0] }}>", 1),
    ("{% set x %}<|eot_id|>{{ messages[0].content }}{% endset %}{{ x.lower().rstrip('x') | trim }}", 1),
    ("{{ ['<|eot_id|>', messages[0].content] | first }}{{ nothing | default('<|eot_id|>') }}", 2),
    ("{{ {'user': '<|eot_id|>'}.get(messages[0].role) }}{{ {'hi': '<|eot_id|>'}[messages[0].content] }}", 2),
    ("<|eot_{{ 'id' }}|><|{{ ['eot', 'id'] | join('_') }}|>{{ '<|eot_id|>' if messages[0].content == 'hi' }}", 3),
]


@pytest.mark.parametrize(("template", "count"), ORDINARY)
def test_a_special_token_of_the_template_survives_what_it_does_with_messages(
    plain: Tokenizer, template: str, count: int
) -> None:
    ids = with_template(plain, template).encode_chat([{"role": "user", "content": "hi"}])
    assert ids.count(plain.encode("<|eot_id|>", add_special=False, parse_special=True)[0]) == count


@pytest.mark.parametrize(
    "template",
    [
        "{{ ('<|x|>{}' ~ c).format(1) }}",
        "{{ '{:>6}'.format('<x>' ~ c) }}{{ '%-6s|' % ('<x>' ~ c) }}{{ '{:{w}}'.format(c, w=2) }}",
        "{{ '%.3s' % ('x' ~ c) }}",
        "{{ ('<x>' ~ c).center(6) }}{{ c.rjust(2) }}{{ c.ljust(2) }}{{ ('<x>' ~ c) | center(6) }}{{ c.zfill(3) }}",
        "{{ ('<x>' ~ c) | indent(1, true) }}{{ ('<' ~ c) | e }}",
        "{{ '{{%s}}' % c }}{{ '{{{}}}'.format(c) }}{{ '%s%%' % c }}{{ '%(c)5s' % {'c': c} }}",
    ],
)
def test_formatting_keeps_the_origin_of_each_character(template: str) -> None:
    prompt = render("{% set c = messages[0].content %}" + template, [{"role": "user", "content": "C"}])
    assert "C" in prompt
    assert typed_mask(prompt) == bytes(character == "C" for character in prompt)


TYPED = st.text("ABß \n<", max_size=6)
WRITTEN = st.text("abc|\t>", max_size=6)
"""Disjoint alphabets, so that each character of a result tells where it must come from."""


@given(st.lists(st.one_of(TYPED.map(typed), WRITTEN), max_size=5), st.one_of(TYPED, WRITTEN), st.integers(-9, 9))
def test_texts_are_strings_that_keep_their_origin(parts: list[str], other: str, number: int) -> None:
    text = Text.joined(parts)
    plain = str.__str__(text)
    results: list[tuple[Any, Any]] = [
        (text[number:], plain[number:]),
        (text[:number][::-1], plain[:number][::-1]),
        (text.strip(other or None), plain.strip(other or None)),
        (text.lstrip(), plain.lstrip()),
        (text.rstrip(), plain.rstrip()),
        (text.split(), plain.split()),
        (text.rsplit(None, 1), plain.rsplit(None, 1)),
        (text.splitlines(), plain.splitlines()),
        (text.splitlines(True), plain.splitlines(True)),
        (text.removeprefix(other), plain.removeprefix(other)),
        (text.removesuffix(other), plain.removesuffix(other)),
        (list(text), list(plain)),
        (other[:0] + text + "", plain),
        (text * 2, plain * 2),
        (Text("|").join(parts), "|".join(parts)),
    ]
    if other:
        results += [
            (text.split(other), plain.split(other)),
            (text.rsplit(other, 1), plain.rsplit(other, 1)),
            (list(text.partition(other)), list(plain.partition(other))),
            (list(text.rpartition(other)), list(plain.rpartition(other))),
            (text.replace(other, "ab"), plain.replace(other, "ab")),
            (text.replace(other, "", 1), plain.replace(other, "", 1)),
        ]
    for got, expected in results:
        assert got == expected
        for piece in got if isinstance(got, list) else [got]:
            assert typed_mask(piece) == bytes(character in "ABß \n<" for character in piece)


def test_other_cases_keep_the_origin_or_are_wholly_typed() -> None:
    assert typed_mask(("<|eot|>" + typed("x")).upper()) == bytes(7) + b"\1"
    assert typed_mask(("<|eot|>" + typed("ß")).upper()) == bytes(7) + b"\1\1"
    assert typed_mask(("<|eot|>" + typed("ß")).title()) == b"\1" * 9
    assert typed_mask(("ß" + typed("ßx")).title()) == b"\1" * 4
    assert typed_mask(Text("<|ß|>").upper()) == bytes(6)


@needs_real_templates
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_in_real_templates_typed_tokens_stay_text(path: Path) -> None:
    template = path.read_text()
    special = set(re.findall(r"<[|｜][^<>]{1,40}[|｜]>|\[/?[A-Z_]+\]|</?s>|<(?:start|end)_of_turn>", template))
    splitter = SpecialSplitter({text: token for token, text in enumerate(sorted(special | set(SPECIAL)))})

    def tokens(content: str) -> list[int]:
        messages = [{"role": role, "content": content} for role in ("user", "assistant", "user")]
        prompt = render(template, messages, variables=VARIABLES)
        return [token for token in splitter.split(str.__str__(prompt), typed_mask(prompt)) if isinstance(token, int)]

    try:
        expected = tokens("x")
    except (ArgumentError, FormatError):
        pytest.skip("this template refuses the conversation")
    assert tokens("x" + "".join(sorted(special))) == expected


FORGERIES = [*SPECIAL, "<|eot_id|>" * 2, " <|eot_id|> ", "<|eot_id|", "|eot_id|>", "eot_id", "<|", "|>", "<", ">"]
FORGERIES += ["<|eot</think>_id|>", "<|eot_id</think>|>", "\ufdd0", "<\ufdd0|eot_id|>"]


@pytest.mark.parametrize("template", [LLAMA3, HUMAN, THINKING, FALLBACK_TEMPLATE])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_messages_cannot_forge_special_tokens(plain: Tokenizer, template: str, data: st.DataObject) -> None:
    tokenizer = with_template(plain, template)
    texts = st.lists(st.one_of(st.sampled_from(FORGERIES), st.text(max_size=4)), max_size=4).map("".join)
    roles = ["user", "assistant", "user"]
    forged = [{"role": role, "content": data.draw(texts)} for role in roles]
    harmless = [{"role": role, "content": "x"} for role in roles]
    special = set(range(tokenizer.encode(SPECIAL[0], add_special=False, parse_special=True)[0], tokenizer.vocab_size))
    special -= set(tokenizer.encode("<think>", add_special=False))
    found = [token for token in tokenizer.encode_chat(forged) if token in special]
    assert found == [token for token in tokenizer.encode_chat(harmless) if token in special]


def test_noncharacters_arrive_as_they_were_typed(plain: Tokenizer) -> None:
    text = "\ufdd0 <|eot_id|> \ufdd1 <x>"
    ids = with_template(plain, LLAMA3).encode_chat([{"role": "user", "content": text}], add_generation_prompt=False)
    assert plain.decode(ids) == "user\n\n" + text


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m.content }}{% endfor %}",
        "{{ messages | map(attribute='content') | join }}",
        "{{ messages[0].content + messages[1].content }}",
        "<|{{ messages[2].content }}|>",
        "<|eot_{{ messages[1].content.split('_')[-1] }}",
        "{{ (messages[0].content ~ messages[1].content) | replace(' ', '') }}",
        "{{ '<|%s|>' % messages[2].content }}{{ '<|{}|>'.format(messages[2].content) }}",
        "{{ '<|{0}|>' | replace('{0}', messages[2].content) }}{{ ('<|' + messages[2].content).swapcase() }}",
        "{{ ['<|', messages[2].content, '|>'] | join }}{{ ''.join(['<|', messages[2].content, '|>']) }}",
        "{% set x %}<|{{ messages[2].content }}|>{% endset %}{{ x | upper | lower | indent(0) | string }}",
        "{{ '<|' ~ messages[2] | map('first') | first ~ '|>' }}{{ messages | map(attribute='content') | list | last }}",
        "{% for c in messages[0].content ~ messages[1].content %}{{ c }}{% endfor %}",
        "{% macro f(x) %}<|{{ x }}|>{% endmacro %}{{ f(messages[2].content) }}{{ messages[0].content * 1 }}_id|>",
        "{{ messages[0].content ~ '_id|>' }}{{ messages[0].content.title().lower() + '_id|>' }}",
        "{{ ('<|eot_id|>' ~ messages[0].content)[11:] ~ '_id|>' }}{{ messages[0].content | truncate(99) ~ '_id|>' }}",
    ],
)
def test_not_even_pieces_of_messages_join_to_a_special_token(plain: Tokenizer, template: str) -> None:
    contents = ["<|eot", "_id|>", "eot_id"]
    ids = with_template(plain, template).encode_chat([{"role": "user", "content": text} for text in contents])
    assert not set(ids) & plain.eos_ids


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[0].items() }}{{ messages[0].d.keys() }}{{ messages[0].d.values() | string }}",
        "{% set ns = namespace(x=messages[0].content) %}{{ ns }}{{ '%s{}' | format(ns) }}{{ '{}'.format(ns) }}",
        "{{ messages[0].content.upper }}{{ messages[0].content.strip | string }}",
        "{% for k, v in messages[0].items() %}{{ k }}{% endfor %}{{ messages[0].keys() | join }}",
        "{{ strftime_now(messages[0].content) }}",
        "{{ [1, 2] | tojson(separators=(messages[0].content, '')) }}{{ [1] | tojson(indent=messages[0].content) }}",
        "{{ (messages[0].content ~ '{:}').format(1) }}{{ ('%d' ~ messages[0].content) % 1 }}",
    ],
)
def test_what_prints_texts_of_messages_is_typed(template: str) -> None:
    message = {"role": "user", "content": "QQQ", "QQQ": 1, "d": {"QQQ": "QQQ"}}
    prompt = render(template, [message])
    assert "QQQ" in prompt
    for found in re.finditer("Q", prompt):
        assert typed_mask(prompt)[found.start()] == 1
