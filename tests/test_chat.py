"""Chat templates render as in transformers; malformed conversations are refused."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from sterna.errors import ArgumentError, FormatError
from sterna.model.chat import FALLBACK_TEMPLATE, render
from sterna.model.tokenizer import Tokenizer
from tests.chat_templates import CONVERSATION, HUMAN, LLAMA3, REAL, THINKING, needs_real_templates, reference, rendered
from tests.tiny_vocabularies import SPECIAL, byte_level_json

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


@needs_real_templates
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_real_templates_render_as_in_transformers(path: Path) -> None:
    template = path.read_text()
    for name, messages in CONVERSATIONS.items():
        # Content that is text alone arrives as its joined text: many templates cannot read a list.
        flat = [m | {"content": "What is 2+2?"} if m["content"] is PARTS else m for m in messages]
        try:
            expected = reference(template, flat, generate=False)
        except Exception:
            with pytest.raises((ArgumentError, FormatError)):
                rendered(template, messages, generate=False)
            continue
        assert rendered(template, messages, generate=False) == expected, name


@pytest.mark.parametrize("template", [LLAMA3, HUMAN, THINKING, FALLBACK_TEMPLATE])
def test_prompts_are_what_transformers_renders(template: str) -> None:
    assert rendered(template, CONVERSATION) == reference(template, CONVERSATION)


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
    assert rendered(template, CONVERSATION) == reference(template, CONVERSATION)


def test_what_templates_use_is_there() -> None:
    template = (
        "{% generation %}{% for i in range(4) %}{% if i == 1 %}{% continue %}{% elif i == 3 %}{% break %}{% endif %}"
        "{{ i }}{% endfor %}{% endgeneration %} {{ strftime_now('%Y') | length }} {{ '<&' | tojson }}"
    )
    assert rendered(template, CONVERSATION) == '02 4 "<&"'


def test_roles_may_be_members_of_an_enumeration() -> None:
    class Role(str, Enum):
        USER = "user"

    assert rendered("{{ messages[0].role }}", [{"role": Role.USER, "content": "x"}]) == "user"


def test_the_fallback_writes_names_and_one_bos(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(byte_level_json())
    plain = Tokenizer(tmp_path)
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
