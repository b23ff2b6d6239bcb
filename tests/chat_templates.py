"""Chat templates in the manner of published ones, a conversation, and what transformers makes of them."""

from __future__ import annotations

from typing import Any

import pytest

from sterna.model.chat import render
from tests.tiny_vocabularies import SHARED

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
REAL = sorted((SHARED / "chat-templates").glob("*.jinja"))
"""Published templates."""
needs_real_templates = pytest.mark.skipif(
    not REAL, reason="../shared/chat-templates is not there (a fixture of the project)"
)
CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": "  Be <b>brief</b> & 'kind'. "},
    {"role": "user", "content": "Is 1 < 2 > 0?"},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nJa, natürlich."},
    {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": {"ä": ["<|x|>", 1, None]}}]},
]
VARIABLES = {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"}


def rendered(template: str, messages: list[dict[str, Any]], generate: bool = True) -> str:
    """The prompt as a plain string."""
    return str.__str__(render(template, messages, generate, VARIABLES))


def reference(template: str, messages: list[dict[str, Any]], generate: bool = True) -> str:
    """The prompt that transformers renders."""
    utilities = pytest.importorskip("transformers.utils.chat_template_utils")
    prompts, _ = utilities.render_jinja_template(
        [messages], chat_template=template, add_generation_prompt=generate, **VARIABLES
    )
    text: str = prompts[0]
    return text
