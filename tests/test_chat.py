"""Chat templates: what they render, what messages cannot forge, what a hostile template cannot do."""

from __future__ import annotations

import re
import time
from enum import Enum
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
from tests.tiny_vocabularies import SHARED, SPECIAL, byte_level_json

LLAMA3 = """{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>

' + message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>

' }}{% endif %}"""  # noqa: E501
HUMAN = (
    "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}{% if message['role'] == 'user' %}"
    "{{ 'Human: ' + message['content'] + '\\n\\nAnswer: ' + eos_token }}{% else %}"
    "{{ message['content'] ~ eos_token }}{% endif %}{% endfor %}"
)
THINKING = """{%- for message in messages %}
    {%- set content = message.content %}
    {%- if '</think>' in content %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
    {{- '<|start_header_id|>' + message.role + '\\n' + content }}
    {%- for call in message.tool_calls or [] %}
        {{- '\\n<tool_call>' ~ call.name ~ (call.arguments | tojson) }}
    {%- endfor %}
    {{- '<|eot_id|>\\n' }}
{%- endfor %}"""
CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": "  Be <b>brief</b> & 'kind'. "},
    {"role": "user", "content": "Is 1 < 2 > 0?"},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nJa, natürlich."},
    {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": {"ä": ["<|x|>", 1, None]}}]},
]
VARIABLES = {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"}


def rendered(template: str, messages: list[dict[str, Any]], generate: bool = True) -> str:
    return str.__str__(render(template, messages, generate, VARIABLES))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("chat") / "tokenizer.json"
    path.write_text(byte_level_json())
    return Tokenizer(path)


def with_template(tokenizer: Tokenizer, template: str) -> Tokenizer:
    return Tokenizer.from_gguf_metadata(tokenizer.gguf_metadata() | {"tokenizer.chat_template": template})


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


PARTS = [{"type": "text", "text": "What is"}, {"type": "text", "text": " 2+2?"}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": {"a": 1, "b": "<x>"}}}
CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "plain": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello <there>"},
        {"role": "user", "content": "id"},
    ],
    "system": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "text"}],
    "parts": [{"role": "system", "content": PARTS}, {"role": "user", "content": PARTS}],
    "tool calls": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "name": "f", "tool_call_id": "call_1", "content": '{"r": 3}'},
    ],
    "no content": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "name": "f", "tool_call_id": "call_1", "content": '{"r": 3}'},
    ],
    "thinking": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nJa"},
        {"role": "user", "content": "More"},
    ],
    "reasoning": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Ja", "reasoning": "hm"},
        {"role": "user", "content": "More"},
    ],
    "blanks": [
        {"role": "user", "content": "  Hi \n "},
        {"role": "assistant", "content": "\n\n ja  "},
        {"role": "user", "content": " "},
    ],
}
REAL = sorted((SHARED / "chat-templates").glob("*.jinja"))


@pytest.mark.skipif(not REAL, reason="../shared/chat-templates is not there (a fixture of the project)")
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_real_templates_render_as_in_transformers(path: Path) -> None:
    utilities = pytest.importorskip("transformers.utils.chat_template_utils")
    template = path.read_text()
    for name, messages in CONVERSATIONS.items():
        # Content that is text alone arrives as its joined text: many templates cannot read a list.
        flat = [m | {"content": "What is 2+2?"} if m["content"] is PARTS else m for m in messages]
        try:
            expected = utilities.render_jinja_template([flat], chat_template=template, **VARIABLES)[0][0]
        except Exception:
            with pytest.raises((ArgumentError, FormatError)):
                rendered(template, messages, generate=False)
            continue
        assert rendered(template, messages, generate=False) == expected, name


@pytest.mark.skipif(not REAL, reason="../shared/chat-templates is not there (a fixture of the project)")
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


@pytest.mark.parametrize("template", [LLAMA3, HUMAN, THINKING, FALLBACK_TEMPLATE])
def test_prompts_are_what_transformers_renders(template: str) -> None:
    utilities = pytest.importorskip("transformers.utils.chat_template_utils")
    expected, _ = utilities.render_jinja_template(
        [CONVERSATION], chat_template=template, add_generation_prompt=True, **VARIABLES
    )
    assert rendered(template, CONVERSATION) == expected[0]


def test_the_templates_special_tokens_become_special_tokens(plain: Tokenizer) -> None:
    tokenizer = with_template(plain, LLAMA3)
    begin, _, turn, start, end = tokenizer.encode("".join(SPECIAL), add_special=False, parse_special=True)
    ids = tokenizer.encode_chat([{"role": "user", "content": " Hi "}])
    assert [token for token in ids if token >= begin] == [begin, start, end, turn, start, end]
    text = "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    assert tokenizer.decode(ids, skip_special=False) == SPECIAL[0] + text
    without = tokenizer.encode_chat([{"role": "user", "content": " Hi "}], add_generation_prompt=False)
    assert ids[: len(without)] == without and without[-1] == turn


FORGERIES = [*SPECIAL, "<|eot_id|>" * 2, " <|eot_id|> ", "<|eot_id|", "|eot_id|>", "eot_id", "<|", "|>", "<", ">"]
FORGERIES += ["<|eot</think>_id|>", "<|eot_id</think>|>", "\ufdd0", "<\ufdd0|eot_id|>"]


@pytest.mark.parametrize("template", [LLAMA3, HUMAN, THINKING, FALLBACK_TEMPLATE])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_messages_cannot_forge_special_tokens(plain: Tokenizer, template: str, data: st.DataObject) -> None:
    tokenizer = with_template(plain, template)
    texts = st.lists(st.one_of(st.sampled_from(FORGERIES), st.text(max_size=4)), max_size=4).map("".join)
    roles = ["user", "assistant", "user"]
    typed = [{"role": role, "content": data.draw(texts)} for role in roles]
    harmless = [{"role": role, "content": "x"} for role in roles]
    special = set(range(tokenizer.encode(SPECIAL[0], add_special=False, parse_special=True)[0], tokenizer.vocab_size))
    special -= set(tokenizer.encode("<think>", add_special=False))
    found = [token for token in tokenizer.encode_chat(typed) if token in special]
    assert found == [token for token in tokenizer.encode_chat(harmless) if token in special]


def test_noncharacters_arrive_as_they_were_typed(plain: Tokenizer) -> None:
    typed = "\ufdd0 <|eot_id|> \ufdd1 <x>"
    ids = with_template(plain, LLAMA3).encode_chat([{"role": "user", "content": typed}], add_generation_prompt=False)
    assert plain.decode(ids) == "user\n\n" + typed


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


TRANSFORMERS = [
    "{{ ', '.join(messages[0].keys()) }}{{ ', '.join(messages | map(attribute='role')) }}{{ [1, 2] | join(3) }}",
    "{{ [1, [2]] | tojson(indent='\t') }}{{ [1, [2]] | tojson(indent=12) }}",
    "{% for g in messages | groupby('role') %}{{ g.grouper }}{{ g.list | length }}{% endfor %}",
    "{{ '{:>{w}}'.format('a', w=5) }}{{ '%*d' % (5, 3) }}{{ '{a}'.format_map({'a': 1}) }}{{ 'abc' % [1] }}{{ 2 ** 9 }}",
    "{{ '<' | e | forceescape }}{{ ['<' | e] }}{{ ('a%s' | safe) % '<' }}{{ ('a{}' | safe).format('<') }}",
    "{{ ('a' | safe).upper() + '<' }}{{ ('a' | safe).replace('a', '<') }}{{ ('a' | safe).join(['<', '>']) + '&' }}",
    "{{ ('a b' | safe).split()[0] + '<' }}{{ ('a' | safe) | indent + '<' }}{{ ('a' | safe) * 2 + '<' }}",
    "{{ 'a' | center(9) }}{{ '-5'.zfill(4) }}{{ 'ab'.center(5) }}{{ 'a'.rjust(3, 'x') }}",
    "{{ messages[0].content + ('<' | e) }}{{ ('<' | e).zfill(9) | e }}{{ ('<' | e) | center(9) | e }}",
    "{{ messages[0] | attr('pop') }}{{ messages[0].pop is defined }}",
    "{{ messages[0].content | replace('I', 'J', none) }}{{ 5 | trim }}{{ 5 | upper }}{{ 5 | center }}{{ 5 | title }}",
    "{% for m in [[1], [2]] recursive %}{{ loop(m) if m is iterable else m }}{% endfor %}",
    "{{ dict.fromkeys(['a'], 1) }}{{ dict(a=1) }}{{ '%r %5r %a %.1s' % ('é', 'x', 'é', 'xy') }}",
]


@pytest.mark.parametrize("template", TRANSFORMERS)
def test_rare_expressions_render_as_in_transformers(template: str) -> None:
    utilities = pytest.importorskip("transformers.utils.chat_template_utils")
    expected, _ = utilities.render_jinja_template(
        [CONVERSATION], chat_template=template, add_generation_prompt=True, **VARIABLES
    )
    assert rendered(template, CONVERSATION) == expected[0]


def test_roles_may_be_members_of_an_enumeration() -> None:
    class Role(str, Enum):
        USER = "user"

    assert rendered("{{ messages[0].role }}", [{"role": Role.USER, "content": "x"}]) == "user"


def test_the_fallback_writes_names_and_one_bos(plain: Tokenizer) -> None:
    ids = plain.encode_chat([{"role": "user", "content": "Hi"}])
    assert ids[0] == plain.bos_id
    assert plain.decode(ids, skip_special=False) == SPECIAL[0] + "User: Hi\nAssistant:"


@pytest.mark.parametrize(
    "messages",
    [[], "Hi", {"role": "user"}, [1], [{"role": "endoftext", "content": ""}], [{"role": "user", "content": 1}],
     [{"content": "x"}], [{"role": "user", "content": "x", "file": b""}], [{"role": "user"}],
     [{"role": "assistant", "content": None}]],
)  # fmt: skip
def test_malformed_messages_are_refused_in_a_sentence(messages: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^[^\n]+\.$"):
        render(FALLBACK_TEMPLATE, messages)


def test_a_template_may_refuse_messages_in_its_own_words() -> None:
    with pytest.raises(ArgumentError, match="no system role"):
        rendered("{{ raise_exception('no system\\n role') }}", CONVERSATION)


def test_what_templates_use_is_there() -> None:
    template = (
        "{% generation %}{% for i in range(4) %}{% if i == 1 %}{% continue %}{% elif i == 3 %}{% break %}{% endif %}"
        "{{ i }}{% endfor %}{% endgeneration %} {{ strftime_now('%Y') | length }} {{ '<&' | tojson }}"
    )
    assert rendered(template, CONVERSATION) == '02 4 "<&"'


LONG = "{% set s %}" + "a" * 50000 + "{% endset %}"
GROW = "{% set ns = namespace(v=['aaaaaaaa'], s='aaaaaaaa') %}{% for i in range(60) %}"
HOSTILE = {
    "autoescape": "{% autoescape true %}{{ messages[0].content }}{% endautoescape %}",
    "dict type": "{% set d = dict(a=1) %}{{ dict.update(d, d=d) }}",
    "bytes": "{{ (1).to_bytes(1999999999, 'big') }}",
    "class": "{{ ''.__class__.__mro__ }}",
    "globals": "{{ namespace.__init__.__globals__ }}",
    "attr filter": "{{ ''|attr('__class__') }}",
    "format attribute": "{{ '{0.__class__}'.format(1) }}",
    "import": "{% import 'os' as os %}",
    "include": "{% include '/etc/passwd' %}",
    "change": "{{ messages.append(1) }}",
    "undefined": "{{ nothing.at.all }}",
    "syntax": "{% for %}",
    "nesting": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "huge source": "a" * 200_000,
    "huge range": "{% for i in range(99999999999) %}{% endfor %}",
    "loops in loops": "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
    "recursive loop": "{% for m in messages recursive %}{{ loop(messages) }}{% endfor %}",
    "macro tree": "{% macro f(n) %}{% if n < 99 %}{{ f(n+1) }}{{ f(n+1) }}{% endif %}{% endmacro %}{{ f(0) }}",
    "block tree": "{% block a %}{{ self.a() }}{{ self.a() }}{% endblock %}",
    "doubling +": GROW + "{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "doubling ~": GROW + "{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    "doubling list": GROW + "{% set ns.v = [ns.v, ns.v] %}{% endfor %}{{ ns.v }}",
    "doubling tuple": GROW + "{% set ns.v = (ns.v, ns.v) %}{% endfor %}{{ ns.v | tojson }}",
    "doubling dict": GROW + "{% set ns.v = dict(a=ns.v, b=ns.v) %}{% endfor %}{{ ns.v }}",
    "doubling block": "{% set s = 'aaaaaaaa' %}" + "{% set s %}{{ s }}{{ s }}{% endset %}" * 60,
    "repeat": "{{ 'a' * 9999999999 }}",
    "power": "{{ 9 ** (9 ** (9 ** 9)) }}",
    "wide %": "{{ '%999999999d' % 1 }}",
    "wide format": "{{ '{:999999999}'.format(1) }}",
    "wide format in other digits": "{{ '{:٩٩٩٩٩٩٩٩٩}'.format(1) }}",
    "wide *": "{{ '%*d' % (999999999, 1) }}",
    "round": "{{ 1 | round(999999999, 'ceil') }}{{ 1 | round(-999999999) }}",
    "negative width": "{{ 'a'.center(-9999999999) }}{{ 'a' * 5000000 }}",
    "center method": "{{ 'a'.center(999999999) }}",
    "search from the end": "{% set s = 'a' * 999999 %}{{ s.rfind('ab' + s) }}{{ s.rfind('ab' + s[9999:]) }}",
    "strip": "{% set s = 'a' * 999999 %}{{ s.strip('b' * 999999 + 'a') }}",
    "strip by keyword": "{% set s = 'a' * 999999 %}{{ s.strip(characters='b' * 999999 + 'a') }}",
    "pieces by keyword": "{{ ('a' * 1500000).split(sep='a') | length }}",
    "pieces": "{{ ('a' * 3000000).split('a') | length }}",
    "many wide fields": "{{ ('{:9999}' * 30000).format(*range(30000)) | length }}",
    "directives": "{{ ('%%' * 1000000) % () }}",
    "comparisons": "{% set s = ['a'] * 300000 %}{% set t = ['a'] * 300000 %}" + "{% if s == t %}{% endif %}" * 2000,
    "tests": "{% set s = ['a'] * 300000 %}" + "{% if 'b' is in s %}{% endif %}" * 2000,
    "loop that skips": "{% for i in range(99999) if false %}{% endfor %}" * 1300,
    "generators": "{{ range(99999)" + " | select('integer')" * 400 + " | list | length }}",
    "sort": "{{ range(99999) | list | sort(attribute='real') | sort(attribute='real') | sort(attribute='real') }}",
    "center": "{{ 'a' | center(999999999) }}",
    "replace": LONG + "{{ s.replace('a', s) }}",
    "replace filter": LONG + "{{ s | replace('a', s) }}",
    "join": LONG + "{{ s.join(s) }}",
    "join filter": LONG + "{{ s | join(d=s) }}",
    "slices": LONG
    + "{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = ns.l + [s[1:]] %}{% endfor %}",
    "much text": "{% for i in range(99999) %}" + "a" * 50000 + "{% endfor %}",
    "much constant": "{% for i in range(99999) %}{{ '" + "a" * 50000 + "' }}{% endfor %}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_templates_end_in_a_sentence_and_soon(name: str) -> None:
    start = time.monotonic()
    with pytest.raises(FormatError, match=r"^[^\n]+\.$"):
        rendered(HOSTILE[name], CONVERSATION)
    assert time.monotonic() - start < 2


def test_a_template_may_gather_the_messages_of_a_long_conversation() -> None:
    template = (
        "{% set ns = namespace(l=[], s='') %}{% for m in messages %}{% set ns.l = ns.l + [m] %}{% endfor %}"
        "{% for m in ns.l %}{% set ns.s = ns.s ~ ns.l[loop.index0:][0].content + '' %}{% endfor %}{{ ns.s }}"
    )
    messages = [{"role": "user", "content": "word " * 50}] * 500
    assert rendered(template, messages) == "word " * 25_000


def test_a_long_conversation_stays_within_the_budget() -> None:
    messages = [{"role": role, "content": "word " * 10_000} for role in ("user", "assistant")] * 10
    assert len(rendered(LLAMA3, messages)) > 900_000
