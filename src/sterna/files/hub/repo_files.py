"""Which files of a repository make up the model that somebody wants."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from sterna.errors import ArgumentError, NotFoundError, listed
from sterna.files.gguf.names import SPLIT_NAME, gguf_files, is_gguf, model_files, split_name, stem
from sterna.files.hf_files import CONFIG, INDEX, WHOLE, is_inside, is_model_folder, small_files, weight_files

SAFETENSORS = "safetensors"
PREFERENCE = (
    *("i2_s", "tq2_0", "tq1_0", "pq2_0", "q2_0_g64", "q2_g64", "q2_0", "ptq1_0", "q1_0", SAFETENSORS),
    *("q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0", "bf16", "f16", "f32"),
)
"""Which of several forms of a model is taken, best first: ternary GGUF, then the folder that these are made from, then
others. Types with scales of groups are equally fast, because the engine repacks them; PQ2_0 needs the least work."""

MAX_SHARDS = 1 << 12
_SHARD = re.compile(r"(?P<name>[^/]+)-(?P<number>\d{1,9})-of-(?P<count>\d{1,9})\.safetensors", re.ASCII)

ReadIndex = Callable[[], Mapping[str, Any]]
"""Gives the content of a repository's `INDEX`."""


@dataclass(frozen=True)
class Choice:
    """The files of one model; `small` ones are fetched before `weights`, so that whoever has the weights has all.
    `entry` is what a reader opens, a GGUF file or the folder itself (""); `complete` says whether no shard is
    missing."""

    entry: str
    small: tuple[str, ...]
    weights: tuple[str, ...]
    complete: bool


def choose(files: Sequence[str], wanted: str | None, name: str, read_index: ReadIndex | None = None) -> Choice:
    """The model among `files` (paths in a repository): the one `wanted` (a GGUF file, a quantisation, `safetensors`),
    or the first in `PREFERENCE`. Companions of models are taken only where they are wanted by their own names.

    `read_index` is called where the weights of a folder are in shards, which its index names; without it their names
    have to say which belong together.
    Raises NotFoundError where there is none, ArgumentError where there are several, FormatError for a broken index;
    `name` names it in their messages.
    """
    files = [file for file in files if is_inside(file)]
    models = model_files(files)
    has_folder = is_model_folder(files)
    if wanted is not None and is_gguf(wanted):
        found = gguf_files(file for file in files if wanted in (file, PurePosixPath(file).name))
    elif wanted is not None and (wanted in (CONFIG, WHOLE, INDEX) or _SHARD.fullmatch(wanted)):
        found = [SAFETENSORS] if has_folder and wanted in files else []
    elif wanted is not None:
        found = _of_kind(wanted.lower(), models, has_folder)
    else:
        kinds = (_of_kind(kind, models, has_folder) for kind in PREFERENCE)
        found = next((matches for matches in kinds if matches), models)
    if len(found) == 1:
        return _folder(files, read_index) if found == [SAFETENSORS] else _gguf(found[0], files)
    known = [*models, *([SAFETENSORS] if has_folder else [])]
    if found:
        raise ArgumentError(f"{name} is not one model but several: name one after a colon ({listed(known)}).")
    if not known:
        companions = gguf_files(files)
        beside = f" (only {listed(companions)}, which are no models by their names)" if companions else ""
        raise NotFoundError(
            f"{name} holds no model that Sterna reads: neither GGUF{beside} nor {CONFIG} with {WHOLE} or {INDEX}."
        )
    raise NotFoundError(f"{name} is not there: of that repository there are {listed(known)}.")


def _of_kind(kind: str, models: Sequence[str], has_folder: bool) -> list[str]:
    """Models of a quantisation: those whose file name ends in its name, else those whose file name has it as a word."""
    if kind == SAFETENSORS:
        return [SAFETENSORS] if has_folder else []
    stems = {file: stem(file).lower() for file in models}
    word = re.compile(rf"(?:^|[^a-z0-9]){re.escape(kind)}(?P<rest>$|[^a-z0-9_])")
    found = {file: match for file, text in stems.items() if (match := word.search(text))}
    return [file for file, match in found.items() if not match["rest"]] or list(found)


def _gguf(file: str, files: Sequence[str]) -> Choice:
    split = SPLIT_NAME.fullmatch(file)
    count = int(split["count"]) if split else 1
    weights = [split_name(split["name"], number, count) for number in range(count)] if split else [file]
    there = tuple(weight for weight in weights if weight in files)
    return Choice(file, (), there, len(there) == count > 0)


def _folder(files: Sequence[str], read_index: ReadIndex | None) -> Choice:
    weights = weight_files(files.__contains__, read_index or (lambda: _index_by_names(files)), INDEX)
    index = [INDEX] if weights != [WHOLE] else []
    there = tuple(weight for weight in weights if weight in files)
    return Choice("", (*small_files(files), *index), there, len(there) == len(weights) > 0)


def _index_by_names(files: Sequence[str]) -> Mapping[str, Any]:
    """An index as the names of shards suggest it: of several sets of shards that of a complete one, called `model`."""
    sets: dict[tuple[str, int], dict[int, str]] = {}
    for file in files:
        if shard := _SHARD.fullmatch(file):
            sets.setdefault((shard["name"], int(shard["count"])), {})[int(shard["number"])] = file

    def rank(key: tuple[str, int]) -> tuple[bool, bool, int]:
        is_complete = len(sets[key]) == key[1] and 0 not in sets[key] and max(sets[key]) == key[1]
        return is_complete, key[0] == "model", len(sets[key])

    name, count = max(sets, key=rank, default=("model", 1))
    shards = {
        number: f"{name}-{number:05}-of-{count:05}.safetensors" for number in range(1, min(count, MAX_SHARDS) + 1)
    }
    return {"weight_map": shards | sets.get((name, count), {})}
