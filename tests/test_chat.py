"""Chat templates: what they render, what messages cannot forge, what a hostile template cannot do."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.errors import ArgumentError, FormatError
from sterna.model.chat import FALLBACK_TEMPLATE, render
from sterna.model.tokenizer import Tokenizer
from tests.tiny_vocabularies import SPECIAL, byte_level_json

LLAMA3 = """{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>

' + message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>

' }}{% endif %}"""  # noqa: E501
BITNET = (
    "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}{% if message['role'] == 'user' %}"
    "{{ 'Human: ' + message['content'] + '\\n\\nBITNETAssistant: ' + eos_token }}{% else %}"
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
    prompt = render(template, messages, SPECIAL, generate, VARIABLES)
    return prompt.unmark(prompt.text)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("chat") / "tokenizer.json"
    path.write_text(byte_level_json())
    return Tokenizer(path)


def with_template(tokenizer: Tokenizer, template: str) -> Tokenizer:
    return Tokenizer.from_gguf_metadata(tokenizer.gguf_metadata() | {"tokenizer.chat_template": template})


@pytest.mark.parametrize("template", [LLAMA3, BITNET, THINKING, FALLBACK_TEMPLATE])
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


@pytest.mark.parametrize("template", [LLAMA3, BITNET, THINKING, FALLBACK_TEMPLATE])
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


def test_marks_leave_no_trace_in_what_was_typed(plain: Tokenizer) -> None:
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
    ],
)
def test_not_even_pieces_of_messages_join_to_a_special_token(plain: Tokenizer, template: str) -> None:
    contents = ["<|eot", "_id|>", "eot_id"]
    ids = with_template(plain, template).encode_chat([{"role": "user", "content": text} for text in contents])
    assert not set(ids) & plain.eos_ids


def test_the_fallback_writes_names_and_one_bos(plain: Tokenizer) -> None:
    ids = plain.encode_chat([{"role": "user", "content": "Hi"}])
    assert ids[0] == plain.bos_id
    assert plain.decode(ids, skip_special=False) == SPECIAL[0] + "User: Hi\nAssistant:"


@pytest.mark.parametrize(
    "messages",
    [[], "Hi", {"role": "user"}, [1], [{"role": "endoftext", "content": ""}], [{"role": "user", "content": 1}],
     [{"content": "x"}], [{"role": "user", "content": "x", "file": b""}]],
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
    "power": "{{ 9 ** 9 ** 9 ** 9 }}",
    "wide %": "{{ '%999999999d' % 1 }}",
    "wide format": "{{ '{:999999999}'.format(1) }}",
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


def test_a_long_conversation_stays_within_the_budget() -> None:
    messages = [{"role": role, "content": "word " * 10_000} for role in ("user", "assistant")] * 10
    assert len(rendered(LLAMA3, messages)) > 900_000
