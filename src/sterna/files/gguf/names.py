"""What the names of GGUF files say: parts of a split model, and companions, which are no models."""

from __future__ import annotations

import re
from collections.abc import Iterable

SPLIT_NAME = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.ASCII | re.DOTALL)
NO_MODEL = re.compile(r"mmproj|imatrix|^ggml-vocab|vocab-only")
"""Projectors of images, importance matrices, vocabularies: never models (as in llama.cpp, common/download.cpp)."""
PERHAPS_NO_MODEL = re.compile(r"(?:^|[^a-z0-9])(?:lora|adapters?|draft|mtp|eagle\d?|dspark)(?:$|[^a-z0-9])")
"""Adapters, and draft models for another model: taken for a model only where there is no other file."""


def is_gguf(file: str) -> bool:
    """Whether a file is called as GGUF files are."""
    return file.lower().endswith(".gguf")


def split_name(name: str, number: int, count: int) -> str:
    """The file name of part `number`, from 0 on, of a model called `name`, as llama.cpp's gguf-split names it."""
    model = name[: -len(".gguf")] if is_gguf(name) else name
    return f"{model}-{number + 1:05}-of-{count:05}.gguf"


def stem(file: str) -> str:
    """The name of the model in a file: without folder, part and ending."""
    matched = SPLIT_NAME.fullmatch(file)
    return (matched["name"] if matched else file[: -len(".gguf")]).rpartition("/")[2]


def gguf_files(files: Iterable[str]) -> list[str]:
    """The GGUF files among `files`, in order; of a split one its first part alone (or the first that is there)."""
    firsts: dict[tuple[str, ...], str] = {}
    for file in files:
        if is_gguf(file):
            matched = SPLIT_NAME.fullmatch(file)
            key = (matched["name"], matched["count"]) if matched else (file,)
            firsts[key] = min(file, firsts.get(key, file))
    return list(firsts.values())


def model_files(files: Iterable[str]) -> list[str]:
    """Those of `gguf_files` that are models by their names."""
    found = [file for file in gguf_files(files) if not NO_MODEL.search(file.rpartition("/")[2].lower())]
    return [file for file in found if not PERHAPS_NO_MODEL.search(stem(file).lower())] or found
