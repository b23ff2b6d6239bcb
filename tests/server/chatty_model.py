"""The embedded model with what published models have and it has not: a template with thoughts, and marks for gaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sterna.files.embedded import EMBEDDED_MODEL
from sterna.files.gguf.reader import read_gguf
from sterna.files.gguf.writer import write_gguf
from sterna.model.tokenizer.special import TokenType

TEMPLATE = """{% for message in messages -%}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor -%}
{% if add_generation_prompt -%}
<|im_start|>assistant
<think>
{% if enable_thinking is defined and not enable_thinking %}
</think>

{% endif %}
{%- endif %}"""
"""As Qwen's: thoughts are opened in the prompt, and closed there where they are not wanted."""
MARKS = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|im_start|>", "<|im_end|>")


def write_chatty_model(path: Path) -> None:
    """Writes the model; its last tokens, which the marks replace, are those of its last merges."""
    file = read_gguf(EMBEDDED_MODEL)
    tokens = list(file.metadata["tokenizer.ggml.tokens"])
    kinds = np.array(file.metadata["tokenizer.ggml.token_type"])
    merges = list(file.metadata["tokenizer.ggml.merges"])
    assert ["".join(merge.split(" ")) for merge in merges[-len(MARKS) :]] == tokens[-len(MARKS) :]
    tokens[-len(MARKS) :] = MARKS
    kinds[-len(MARKS) :] = TokenType.CONTROL
    changed = {
        "general.name": "chatty",
        "tokenizer.chat_template": TEMPLATE,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": merges[: -len(MARKS)],
        "tokenizer.ggml.eot_token_id": np.uint32(len(tokens) - 1),
    }
    write_gguf(path, {**file.metadata, **changed}, file.tensors.values())
