"""The files of a Hugging Face folder, on disk or in a repository (transformers 5, `from_pretrained`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from sterna.errors import FormatError

CONFIG = "config.json"
WHOLE = "model.safetensors"
"""All weights in one file."""
INDEX = "model.safetensors.index.json"
"""The list of the files that hold the weights, where they are several."""
POOLING = "1_Pooling/config.json"
"""How an embedding model of sentence-transformers makes one vector of many."""
TEMPLATES = "additional_chat_templates/"
"""Folder of named chat templates, each a `.jinja` file."""

TOKENIZER = ("tokenizer.json", "tokenizer.model")
"""What a tokenizer is read from, best first."""
PIECES = ("vocab.json", "merges.txt")
"""The tokenizer's files in a folder that has none of `TOKENIZER`."""
TOKENIZER_SETTINGS = "tokenizer_config.json"
BESIDE = (
    "generation_config.json",
    TOKENIZER_SETTINGS,
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
)
"""Settings of the tokenizer and of generation: special tokens, tokens that end a text, chat templates."""


def is_model_folder(names: Collection[str]) -> bool:
    """Whether a folder or repository with files of these names holds a model: `config.json` and weights."""
    return CONFIG in names and (WHOLE in names or INDEX in names)


def small_files(files: Iterable[str]) -> list[str]:
    """Those of a folder's `files` that are read beside its weights."""
    there = set(files)
    names = [CONFIG, *TOKENIZER, *BESIDE, POOLING]
    if there.isdisjoint(TOKENIZER):
        names += PIECES
    names += sorted(name for name in there if name.startswith(TEMPLATES) and name.endswith(".jinja"))
    return [name for name in names if name in there]


def weight_files(has: Callable[[str], bool], read_index: Callable[[], Mapping[str, Any]], index: object) -> list[str]:
    """The files that hold a folder's weights, by their paths in it; empty where there are none.

    `model.safetensors` takes precedence over an index, which may be left over from other shards. `has` says whether the
    folder has a file; `read_index` gives the content of its index, which `index` names in errors. Raises FormatError
    for an index that is broken, or that names a file outside the folder.
    """
    if has(WHOLE):
        return [WHOLE]
    if not has(INDEX):
        return []
    weight_map = read_index().get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(at, str) for at in weight_map.values()):
        raise FormatError(f"{index} has no usable weight_map.")
    shards = sorted({shard.removeprefix("./") for shard in weight_map.values()})
    for shard in shards:
        if not is_inside(shard) or not shard.endswith(".safetensors"):
            raise FormatError(f"{index} names the shard {shard!r}, which is no file beside it.")
    return shards


def is_inside(file: str) -> bool:
    """Whether a path, which anybody may have written, stays inside its folder or repository."""
    parts = file.split("/")
    is_plain = file.isprintable() and "\\" not in file and not Path(file).drive
    return is_plain and not any(part in ("", ".", "..") for part in parts)
