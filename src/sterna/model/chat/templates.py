"""Templates that are not a model's own file: the fallback, and what stands in for a placeholder."""

from __future__ import annotations

from collections.abc import Collection

from sterna.errors import warn

FALLBACK_TEMPLATE_NAME = "plain"
FALLBACK_TEMPLATE = (
    "{% for message in messages %}"
    "{{ message['role'] | capitalize }}: {{ (message['content'] or '') | trim }}\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""For models without a template: one line a message, no special tokens, so that it fits every vocabulary."""
FALLBACK_STOPS = ("\nUser:",)
"""Strings that end an answer in the fallback: a model that was not trained to end its turn writes the user's, too."""

# Turns of microsoft/bitnet-b1.58-2B-4T: "Role: text<|eot_id|>", BOS before the first, "Assistant: " before an answer.
BITNET_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ message['role'] | capitalize }}: {{ message['content'] | trim }}<|eot_id|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
)
_BITNET_PLACEHOLDER = "BITNETAssistant"
"""Stands in the template that bitnet.cpp's converter writes into every file, and in no model's own."""


def usable_template(template: str | None, special: Collection[str]) -> str | None:
    """The template to use for a model whose file has `template`: None where it is empty, and the model's own, with a
    warning, where it is a placeholder. `special`: the texts of the model's special tokens."""
    if not template or not template.strip():
        return None
    if _BITNET_PLACEHOLDER not in template:
        return template
    own = "<|eot_id|>" in special
    replaced = "that of BitNet b1.58 2B-4T" if own else "a plain one"
    warn(f"The chat template of this file is the placeholder of bitnet.cpp's converter; {replaced} is used instead.")
    return BITNET_TEMPLATE if own else None
