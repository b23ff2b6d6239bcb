"""Folders of tied models, made in the ways that other people's are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from sterna import LLM
from sterna.checkpoint import open_checkpoint
from sterna.errors import SternaError

from ..hf_folders import random_model

Tensors = dict[str, Any]
INDEX = "model.safetensors.index.json"
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def tied(folder: Path, **keys: Any) -> tuple[Any, Tensors]:
    """A model whose head is its embedding, its `config.json` in `folder`, and its tensors without the head."""
    model = random_model("LlamaForCausalLM", "grouped", **{"tie_word_embeddings": True} | keys)
    (folder / "config.json").write_text(json.dumps(model.config.to_dict() | {"architectures": ["LlamaForCausalLM"]}))
    tensors = {name: value.detach().clone() for name, value in model.state_dict().items()}
    return model, {name: value for name, value in tensors.items() if name != "lm_head.weight"}


def write(tensors: Tensors, path: Path, **metadata: str) -> None:
    path.parent.mkdir(exist_ok=True)
    save_file(tensors, path, metadata={"format": "pt"} | metadata)


def write_shards(folder: Path, tensors: Tensors, change: Callable[[dict[str, str], list[str]], object]) -> list[str]:
    """Two shards and their index, which `change` changes: its weight_map, and the names of the shards."""
    names, weight_map = sorted(tensors), {}
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for shard, part in zip(shards, (names[: len(names) // 2], names[len(names) // 2 :]), strict=True):
        write({name: tensors[name] for name in part}, folder / shard)
        weight_map |= dict.fromkeys(part, shard)
    change(weight_map, shards)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return shards


def assert_logits(folder: Path, model: Any = None) -> None:
    """Sterna's logits of the folder are those of `model`, by default of what transformers reads from it."""
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32) if model is None else model
    with torch.no_grad():
        expected = theirs(torch.tensor([[1, 2, 3]])).logits[0].float().numpy()
    assert np.abs(LLM(folder, threads=1, kv="f32").logits([1, 2, 3]) - expected).max() < 1e-4


def refused(path: str | Path, error: type[SternaError], *words: str) -> None:
    """Opening `path` raises one sentence that has these words."""
    with pytest.raises(error) as caught:
        open_checkpoint(path)
    sentence = str(caught.value)
    assert all(word in sentence for word in words) and sentence.endswith(".") and "\n" not in sentence, sentence
