"""Why there is no model at a path: what is there in its place, and what was perhaps meant."""

from __future__ import annotations

import os
from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path

from sterna.errors import ArgumentError, FormatError, NotFoundError, SternaError, UnsupportedError, listed
from sterna.files.gguf.names import model_files
from sterna.files.hf_files import CONFIG, INDEX, WHOLE, is_model_folder
from sterna.files.local import entries_of, models_in, names_in

MAX_LOOKED_AT = 2000
"""Folders and files among which models, or similar names, are looked for."""

INSTEAD: tuple[tuple[type[SternaError], str, str], ...] = (
    (UnsupportedError, "adapter_config.json", "holds an adapter, not a model: merge it into its base model first"),
    (NotFoundError, WHOLE, f"holds weights, but no {CONFIG}, which says what model they are of"),
    (NotFoundError, INDEX, f"holds an index of weights, but no {CONFIG}, which says what model they are of"),
    (
        NotFoundError,
        "*-of-*.safetensors",
        f"holds shards ({{}}), but no {INDEX}, which says which of them are the model",
    ),
    (NotFoundError, "*.safetensors", f"holds weights ({{}}), but not under the name {WHOLE}"),
    (NotFoundError, "train.bin", "holds a training run that has saved no checkpoint yet"),
    (UnsupportedError, "*.bin", "keeps its weights in {}, and Sterna reads no pickles: convert them to safetensors"),
    (UnsupportedError, "*.pt*", "keeps its weights in {}, and Sterna reads no pickles: convert them to safetensors"),
    (NotFoundError, CONFIG, f"holds {CONFIG}, but neither {WHOLE} nor {INDEX}"),
    (NotFoundError, "*.gguf", "holds companions of a model ({}), but no model"),
)
"""What folders hold in place of a model, the most telling first: the error, a pattern of file names, a sentence."""


def no_model(folder: Path) -> SternaError:
    """The error that says what a folder holds in place of a model that Sterna reads."""
    names = names_in(folder)
    models = models_in(folder, names)
    if len(models) > 1:
        return ArgumentError(f"{folder} holds several models: name one of its files ({listed(models)}).")
    nested = [] if CONFIG in names else _models_below(folder)
    if nested:
        return NotFoundError(f"{folder} holds no model itself, but there is one in {listed(nested)}.")
    for error, pattern, sentence in INSTEAD:
        found = [name for name in names if fnmatchcase(name.lower(), pattern)]
        if found:
            return error(f"{folder} {sentence.format(listed(found))}.")
    what = "is empty" if not entries_of(folder) else "holds no model that Sterna reads"
    return NotFoundError(f"{folder} {what}: a model is a GGUF file, or a folder with {CONFIG} and {WHOLE}.")


def no_model_file(path: Path) -> FormatError:
    """The error for a file that is of no kind that Sterna reads models from."""
    return FormatError(
        f"{path} is no model: Sterna reads GGUF files, and folders of {CONFIG} and safetensors (never pickles)."
    )


def similar(path: Path, also: Sequence[str] = ()) -> list[str]:
    """Names of files and folders that are most like a path that is not there, and those like it of `also`."""
    missing, parent = path, path.parent
    while not parent.is_dir() and parent != parent.parent:
        missing, parent = parent, parent.parent
    names = {name.lower(): str(parent / name) for name in entries_of(parent)[:MAX_LOOKED_AT]}
    found = get_close_matches(missing.name.lower(), names, n=2, cutoff=0.75)
    return [names[name] for name in found] + get_close_matches(str(path).lower(), also, n=2, cutoff=0.75)


def _models_below(folder: Path) -> list[Path]:
    """Paths of models in folders of `folder`, as far down as `MAX_LOOKED_AT` entries reach."""
    found: list[Path] = []
    looked_at = 0
    for name, folders, files in os.walk(folder):
        place, looked_at = Path(name), looked_at + len(folders) + len(files)
        if looked_at > MAX_LOOKED_AT:
            break
        if place != folder:
            found += [place] if is_model_folder(files) else [place / file for file in model_files(files)]
    return sorted(found)
