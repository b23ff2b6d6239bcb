"""Tiny bases to fine-tune: random models in folders, with a tokenizer and a chat template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.hf_folders import quantization, random_model, save
from tests.tiny_vocabularies import byte_level_json

TEMPLATE = (
    "{% for message in messages %}"
    "<|start_header_id|>{{ message['role'] }}<|end_header_id|>{{ message['content'] }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>{% endif %}"
)
CONVERSATIONS: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "It was a dark night."}]},
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Name a dog <|eot_id|>"},
            {"role": "assistant", "content": "The lazy dog."},
            {"role": "user", "content": "Another?"},
            {"role": "assistant", "content": "The quick brown fox."},
        ]
    },
    {"messages": [{"role": "user", "content": "Bye"}, {"role": "assistant", "content": "The rain fell."}]},
]


def write_base(folder: Path, architecture: str = "BitNetForCausalLM", **keys: Any) -> Path:
    """A folder of a random model: of latent weights for BitNet, of full precision for others."""
    text = byte_level_json()
    tokens = len(json.loads(text)["model"]["vocab"]) + len(json.loads(text)["added_tokens"])
    model = random_model(architecture, "all-kv", vocab_size=tokens, **{"tie_word_embeddings": True, **keys})
    latent = quantization(linear_class="autobitlinear", quantization_mode="online")
    save(folder, model, latent if architecture == "BitNetForCausalLM" else None, packed=False)
    write_tokenizer(folder)
    return folder


def write_tokenizer(folder: Path, template: str | None = TEMPLATE) -> None:
    """The files of a byte-level tokenizer."""
    (folder / "tokenizer.json").write_text(byte_level_json(), encoding="utf-8")
    settings = {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>", "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A JSONL file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_config(
    folder: Path, mode: str = "full", steps: int = 12, more: str = "", output: str = "out", training: str = ""
) -> Path:
    """A config for the base and the conversations in `folder`."""
    path = folder / f"{output}.toml"
    path.write_text(
        f"""
name = "tern"
mode = "{mode}"
base = "base"
output = "{output}"
[[data]]
path = "chat.jsonl"
[[data]]
path = "chat.jsonl"
split = "valid"
[training]
steps = {steps}
batch_size = 2
context = 96
learning_rate = 3e-3
warmup_steps = 2
eval_steps = 10
log_steps = 4
checkpoint_steps = 5
{training}
[watch]
prompts = ["Hi"]
sample_tokens = 6
{more}
"""
    )
    return path


def write_run(folder: Path, architecture: str = "BitNetForCausalLM", **keys: Any) -> Path:
    """A folder with a base and conversations; returns it."""
    write_base(folder / "base", architecture, **keys)
    write_rows(folder / "chat.jsonl", CONVERSATIONS)
    return folder
