"""Which files of a repository make up the model that somebody wants."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from sterna.errors import ArgumentError, NotFoundError

SAFETENSORS = "safetensors"
PREFERENCE = (
    *("i2_s", "tq2_0", "tq1_0", SAFETENSORS),
    *("q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0", "bf16", "f16", "f32"),
)
"""Which of several forms of a model is taken, best first: ternary GGUF, then the folder that these are made from, then
others."""

FOLDER_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "chat_template.jinja",
    "1_Pooling/config.json",
)
"""The files that a folder is read from, beside its weights."""
INDEX = "model.safetensors.index.json"

MAX_NAMED = 20
_SHARD = re.compile(r"(?P<stem>.+)-(?P<index>\d{5})-of-(?P<count>\d{5})\.(?:gguf|safetensors)", re.ASCII)


@dataclass(frozen=True)
class Choice:
    """The files of one model; `small` ones are fetched before `weights`, so that whoever has the weights has all.
    `entry` is what a reader opens, a GGUF file or the folder itself (""); `complete` says whether no shard is
    missing."""

    entry: str
    small: tuple[str, ...]
    weights: tuple[str, ...]
    complete: bool


def choose(files: Sequence[str], wanted: str | None, name: str) -> Choice:
    """The model among `files` (paths in a repository): the one `wanted` (a GGUF file, a quantisation, `safetensors`),
    or the first in `PREFERENCE`.

    Raises NotFoundError where there is none, ArgumentError where there are several; `name` names it in their messages.
    """
    files = [file for file in files if _is_safe(file)]
    models = [file for file in files if file.endswith(".gguf") and _shard_number(file) == 1]
    has_folder = "config.json" in files and ("model.safetensors" in files or INDEX in files)
    if wanted is not None and wanted.endswith(".gguf"):
        found = [file for file in models if wanted in (file, PurePosixPath(file).name)]
    elif wanted is not None:
        found = _of_kind(wanted.lower(), models, has_folder)
    else:
        kinds = (_of_kind(kind, models, has_folder) for kind in PREFERENCE)
        found = next((matches for matches in kinds if matches), models)
    if len(found) == 1:
        return _folder(files) if found == [SAFETENSORS] else _gguf(found[0], files)
    listed = [*models, *([SAFETENSORS] if has_folder else [])]
    shown = ", ".join(listed[:MAX_NAMED]) + (", ..." if len(listed) > MAX_NAMED else "")
    if found:
        raise ArgumentError(f"{name} is not one model but several: name one after a colon ({shown}).")
    if not listed:
        raise NotFoundError(f"{name} holds no model that Sterna reads: neither GGUF nor config.json with safetensors.")
    raise NotFoundError(f"{name} is not there: of that repository there are {shown}.")


def _is_safe(file: str) -> bool:
    """Whether a path, which anybody may have written, stays inside its repository."""
    parts = file.split("/")
    return file.isprintable() and "\\" not in file and not any(part in ("", ".", "..") for part in parts)


def _of_kind(kind: str, models: Sequence[str], has_folder: bool) -> list[str]:
    """Models of a quantisation: those whose file name ends in its name, else those whose file name has it as a word."""
    if kind == SAFETENSORS:
        return [SAFETENSORS] if has_folder else []
    stems = {file: _stem(file).lower() for file in models}
    word = re.compile(rf"(?:^|[^a-z0-9]){re.escape(kind)}(?P<rest>$|[^a-z0-9_])")
    found = {file: match for file, stem in stems.items() if (match := word.search(stem))}
    return [file for file, match in found.items() if not match["rest"]] or list(found)


def _stem(file: str) -> str:
    shard = _SHARD.fullmatch(file)
    return PurePosixPath(shard["stem"] if shard else file.removesuffix(".gguf")).name


def _shard_number(file: str) -> int:
    shard = _SHARD.fullmatch(file)
    return int(shard["index"]) if shard else 1


def _gguf(file: str, files: Sequence[str]) -> Choice:
    shard = _SHARD.fullmatch(file)
    if shard is None:
        return Choice(file, (), (file,), True)
    weights = [f"{shard['stem']}-{index:05}-of-{shard['count']}.gguf" for index in range(1, int(shard["count"]) + 1)]
    there = [weight for weight in weights if weight in files]
    return Choice(file, (), tuple(there), there == weights)


def _folder(files: Sequence[str]) -> Choice:
    small = tuple(name for name in (*FOLDER_FILES, INDEX) if name in files)
    shards = [file for file in files if "/" not in file and file.endswith(".safetensors") and _SHARD.fullmatch(file)]
    if INDEX not in files or not shards:
        return Choice("", small, ("model.safetensors",), "model.safetensors" in files)
    count = max(int(file.removesuffix(".safetensors")[-5:]) for file in shards)
    return Choice("", small, tuple(shards), len(shards) == count)
