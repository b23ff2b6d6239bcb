"""Chat templates that nobody should trust end in an error and soon; honest ones stay within the budget."""

from __future__ import annotations

import time

import pytest

from sterna.errors import FormatError
from sterna.model.chat import budget
from tests.chat_templates import CONVERSATION, LLAMA3, rendered

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
    "pieces": "{{ ('a' * 1500000).split('a') | length }}",
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
    start = time.thread_time()
    with pytest.raises(FormatError, match=r"^[^\n]+\.$"):
        rendered(HOSTILE[name], CONVERSATION)
    assert time.thread_time() - start < 2


def test_a_template_may_gather_the_messages_of_a_long_conversation() -> None:
    template = (
        "{% set ns = namespace(l=[], s='') %}{% for m in messages %}{% set ns.l = ns.l + [m] %}{% endfor %}"
        "{% for m in ns.l %}{% set ns.s = ns.s ~ ns.l[loop.index0:][0].content + '' %}{% endfor %}{{ ns.s }}"
    )
    messages = [{"role": "user", "content": "word " * 50}] * 500
    assert rendered(template, messages) == "word " * 25_000


def test_time_that_a_rendering_waits_for_a_processor_is_not_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "MAX_SECONDS", 0.02)
    charged = budget.Budget(0)
    time.sleep(0.05)
    charged.step()
    with pytest.raises(budget.LimitError):
        for _ in range(1000):
            charged.step()
            sum(range(10_000))


def test_a_long_conversation_stays_within_the_budget() -> None:
    messages = [{"role": role, "content": "word " * 10_000} for role in ("user", "assistant")] * 10
    assert len(rendered(LLAMA3, messages)) > 900_000
