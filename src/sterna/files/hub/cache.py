"""Models by name: paths, well-known names, and repositories of the Hugging Face hub in a cache that works offline.

The cache is the hub's own (`huggingface_hub`, "Understand caching": `models--ORG--REPO/{blobs,refs,snapshots}`), so
what other programs have downloaded is used where it is. Finding a cached model opens no connection.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sterna.errors import ArgumentError, FormatError, NetworkError, NotFoundError, SternaError
from sterna.files.embedded import EMBEDDED_MODEL, EMBEDDED_NAME
from sterna.files.gguf.names import model_files
from sterna.files.hf_files import INDEX
from sterna.files.hub.names import SEPARATOR, WELL_KNOWN, Reference, is_address, parse_reference
from sterna.files.hub.repo_files import SAFETENSORS, Choice, choose
from sterna.files.local import as_path, find_local
from sterna.files.no_model import similar
from sterna.files.safetensors.reader import read_json

if TYPE_CHECKING:
    from sterna.files.hub.download import Tell

PREFIX = "models"
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class CachedModel:
    """A model of the cache: `name` as `resolve_model` takes it, its weight files, their bytes, and its folder."""

    name: str
    alias: str | None
    files: list[str]
    bytes: int
    path: str


def resolve_model(name: str | os.PathLike[str]) -> Path:
    """The path of the model called `name`: what `find_local` finds at that path, else the embedded model or the cached
    model of that name. A model that is not in the cache is downloaded, which a line on stderr says.

    Raises NotFoundError where there is nothing of that name, NetworkError where the hub cannot be reached,
    ArgumentError where a repository has several models and `name` does not say which.
    """
    text, path = os.fspath(name), as_path(name)
    if not text:
        raise ArgumentError("The name of the model is empty.")
    found = find_local(path)
    if found is not None:
        return found
    if text == EMBEDDED_NAME:
        return EMBEDDED_MODEL
    reference = parse_reference(text)
    if reference is None:
        raise _unknown(text, path)
    cached = find_cached(reference)
    if cached is not None:
        return cached
    here = "" if is_address(text) else f"{text} is no file or folder here{_similar(path)}, and "
    if _is_offline():
        it = "it" if here and str(reference) == text else reference
        raise NotFoundError(f"{here}{it} is not in the cache as a whole, and HF_HUB_OFFLINE is set.")
    try:
        return pull(reference)
    except NetworkError as error:
        raise NetworkError(f"{here}{_lowered(str(error))}") from error
    except NotFoundError as error:
        raise NotFoundError(f"{str(error).removesuffix('.')}{_similar(path)}.") from error


def _unknown(name: str, path: Path) -> NotFoundError:
    """The error for a name of nothing that is there or can be fetched."""
    if is_address(name):
        return NotFoundError(
            f"{name} is no address of a model on the hub: download what is there, and give the path of the file."
        )
    there_is_none = f"{name} cannot be read: no file or folder is there{_similar(path)}"
    if "/" in name or os.sep in name:
        return NotFoundError(f"{there_is_none}.")
    return NotFoundError(
        f"{there_is_none}, and no model has that name; give a path, a repository of the hub (ORG/REPO), or one of "
        f"{', '.join(WELL_KNOWN)}."
    )


def _similar(path: Path) -> str:
    """The files, folders and well-known models whose names are most like that of a path, in brackets."""
    try:
        found = similar(path, also=list(WELL_KNOWN))
    except (NotFoundError, OSError, ValueError):
        found = []
    return f" (did you mean {' or '.join(found)}?)" if found else ""


def _lowered(sentence: str) -> str:
    """A sentence as the second half of another."""
    return "t" + sentence[1:] if sentence.startswith("The ") else sentence


def _is_offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def cache_folder() -> Path:
    """`STERNA_CACHE`, else the hub's own cache (`HF_HUB_CACHE`, `HF_HOME`)."""
    own = os.environ.get("STERNA_CACHE")
    if own:
        return Path(own).expanduser()
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def repo_folder(repo: str) -> Path:
    """The folder of a repository in the cache."""
    return cache_folder() / SEPARATOR.join((PREFIX, *repo.split("/")))


def _cached_folder(repo: str) -> Path:
    """The folder of a repository in the cache. The hub ignores the case of a repository's name, so the folder may have
    been made under another case."""
    folder = repo_folder(repo)
    if folder.is_dir() or not folder.parent.is_dir():
        return folder
    return next((other for other in folder.parent.iterdir() if other.name.lower() == folder.name.lower()), folder)


def find_cached(reference: Reference) -> Path | None:
    """The path of a model whose files are all in the cache, else None."""
    folder = _cached_folder(reference.repo)
    commit = _commit(folder, reference.revision)
    if commit is None:
        return None
    snapshot = folder / "snapshots" / commit
    try:
        choice = _choose_in(snapshot, _files_in(snapshot), reference.file, str(reference))
    except NotFoundError:
        return None
    return snapshot / choice.entry if choice.complete else None


def pull(reference: Reference, token: str | None = None, tell: Tell = lambda downloaded: None) -> Path:
    """Downloads what is needed to run a model, or brings it up to date, and returns its path.

    An interrupted download is resumed. A revision names its new commit only when all files are there.
    `token`: default `HF_TOKEN`. `tell` hears of each piece of weights that comes. Raises NotFoundError, NetworkError
    and ArgumentError as `resolve_model`.
    """
    from sterna.files.atomic import atomic_write
    from sterna.files.hub.download import Hub

    hub = Hub(cache_folder(), reference.repo, token)
    commit, files = hub.listing(reference.revision)
    if COMMIT.fullmatch(commit) is None:
        raise FormatError(f"The hub's answer about {reference.repo} names no commit.")
    choice = choose(files, reference.file, str(reference), lambda: read_json(hub.path_of(INDEX, commit)))
    if not choice.complete:
        raise NotFoundError(
            f"{reference} is not whole on the hub: its repository lacks a part of {choice.entry or INDEX}."
        )
    folder = repo_folder(reference.repo)
    hub.fetch(choice, commit, tell)
    if reference.revision != commit:
        ref = folder / "refs" / reference.revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(ref) as file:
            file.write(commit.encode())
    return folder / "snapshots" / commit / choice.entry


def cached_models(is_model: Callable[[Path], bool]) -> list[CachedModel]:
    """All models of the cache, sorted by name: GGUF files, and those folders with a `config.json` for which `is_model`
    is true (the cache also has models that Sterna does not read)."""
    aliases = {repo: alias for alias, repo in WELL_KNOWN.items()}
    models = []
    for folder in sorted(cache_folder().glob(f"{PREFIX}{SEPARATOR}*")):
        repo = folder.name.removeprefix(PREFIX + SEPARATOR).replace(SEPARATOR, "/")
        for ref in sorted((folder / "refs").rglob("*")):
            revision = ref.relative_to(folder / "refs").as_posix()
            commit = _commit(folder, revision) if parse_reference(f"{repo}@{revision}") else None
            if commit is None:
                continue
            snapshot = folder / "snapshots" / commit
            weights = [name for choice in _models_in(snapshot, is_model) for name in choice.weights]
            if weights:
                size = sum((snapshot / name).stat().st_size for name in weights)
                name = str(Reference(repo, revision))
                models.append(CachedModel(name, aliases.get(name), weights, size, str(snapshot)))
    return models


def embedded_model() -> CachedModel:
    """The embedded model, as if it were one of the cache."""
    size = EMBEDDED_MODEL.stat().st_size
    return CachedModel(EMBEDDED_NAME, None, [EMBEDDED_MODEL.name], size, str(EMBEDDED_MODEL))


def remove_cached(name: str) -> int:
    """Deletes a repository, all its revisions and the rest of interrupted downloads; returns how many bytes were freed.

    Raises NotFoundError where the cache has none of that name, ArgumentError for a name with a revision or a file.
    """
    if name == EMBEDDED_NAME:
        raise ArgumentError(f"{name} is part of Sterna and cannot be removed.")
    reference = parse_reference(name)
    if reference is None:
        raise NotFoundError(f"{name} is no model of the cache; `sterna list` shows those.")
    if str(reference) != reference.repo:
        raise ArgumentError(f"A repository is removed as a whole: name it {reference.repo}.")
    folder = _cached_folder(reference.repo)
    if not folder.is_dir() or folder.is_symlink():
        raise NotFoundError(f"{reference.repo} is not in the cache at {folder.parent}.")
    freed = sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
    shutil.rmtree(folder)
    return freed


def _commit(folder: Path, revision: str) -> str | None:
    """The commit that a revision of a cached repository stands for."""
    if COMMIT.fullmatch(revision):
        return revision
    try:
        with open(folder / "refs" / revision, encoding="ascii", errors="replace") as file:
            commit = file.read(64).strip()
    except OSError:
        return None
    return commit if COMMIT.fullmatch(commit) else None


def _files_in(snapshot: Path) -> list[str]:
    """Files of a snapshot by their paths in the repository; links whose file is not there are left out."""
    return sorted(path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file())


def _choose_in(snapshot: Path, files: Sequence[str], wanted: str | None, name: str) -> Choice:
    return choose(files, wanted, name, lambda: read_json(snapshot / INDEX))


def _models_in(snapshot: Path, is_model: Callable[[Path], bool]) -> list[Choice]:
    """Every complete model of a snapshot."""
    files = _files_in(snapshot)
    names = [*model_files(files), SAFETENSORS]
    choices = {}
    for name in names:
        try:
            choice = _choose_in(snapshot, files, name, "")
        except SternaError:
            continue
        if choice.complete and (choice.entry or is_model(snapshot)):
            choices[choice.entry] = choice
    return list(choices.values())
