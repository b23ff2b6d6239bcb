"""Models by name: paths, well-known names, and repositories of the Hugging Face hub in a cache that works offline.

The cache is the hub's own (`huggingface_hub`, "Understand caching": `models--ORG--REPO/{blobs,refs,snapshots}`), so
what other programs have downloaded is used where it is. Finding a cached model opens no connection.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sterna.errors import ArgumentError, FormatError, NotFoundError, SternaError
from sterna.files.embedded import EMBEDDED_MODEL, EMBEDDED_NAME
from sterna.files.hub.repo_files import Choice, choose

WELL_KNOWN = {
    "bitnet-2b": "microsoft/bitnet-b1.58-2B-4T-gguf",
    "bitnet-large": "1bitLLM/bitnet_b1_58-large",
    "bitnet-xl": "1bitLLM/bitnet_b1_58-xl",
    "bitnet-3b": "1bitLLM/bitnet_b1_58-3B",
    "bitnet-embedding-270m": "microsoft/bitnet-embedding-270m",
    "bitnet-embedding-0.6b": "microsoft/bitnet-embedding-0.6b",
    "falcon3-1b": "tiiuae/Falcon3-1B-Instruct-1.58bit-GGUF",
    "falcon3-3b": "tiiuae/Falcon3-3B-Instruct-1.58bit-GGUF",
    "falcon3-7b": "tiiuae/Falcon3-7B-Instruct-1.58bit-GGUF",
    "falcon3-10b": "tiiuae/Falcon3-10B-Instruct-1.58bit-GGUF",
    "falcon-e-1b": "tiiuae/Falcon-E-1B-Instruct-GGUF",
    "falcon-e-3b": "tiiuae/Falcon-E-3B-Instruct-GGUF",
    "llama3-8b-1.58": "HF1BitLLM/Llama3-8B-1.58-100B-tokens",
}
"""Short names of published ternary models."""

PREFIX, SEPARATOR = "models", "--"
COMMIT = re.compile(r"[0-9a-f]{40}")
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
_REFERENCE = re.compile(rf"(?P<repo>{_PART}(?:/{_PART})?)(?:@(?P<revision>[\w./-]+))?(?::(?P<file>[^:]+))?", re.ASCII)


@dataclass(frozen=True)
class Reference:
    """`ORG/REPO[@REVISION][:FILE]`: a repository, a branch, tag or commit, and a GGUF file, a quantisation such as
    `i2_s`, or `safetensors`."""

    repo: str
    revision: str = "main"
    file: str | None = None

    def __str__(self) -> str:
        revision = "" if self.revision == "main" else f"@{self.revision}"
        return self.repo + revision + ("" if self.file is None else f":{self.file}")


@dataclass(frozen=True)
class CachedModel:
    """A model of the cache: `name` as `resolve_model` takes it, its weight files, their bytes, and its folder."""

    name: str
    alias: str | None
    files: list[str]
    bytes: int
    path: str


def parse_reference(name: str) -> Reference | None:
    """A well-known name or `ORG/REPO`, each with `@REVISION` and `:FILE` if wanted; None for anything else."""
    found = _REFERENCE.fullmatch(name)
    if found is None or ".." in name or SEPARATOR in found["repo"] or name.endswith("/"):
        return None
    repo = WELL_KNOWN.get(found["repo"].lower(), found["repo"])
    # A path to a file that does not exist is not taken for a repository.
    if "/" not in repo or repo.lower().endswith((".gguf", ".safetensors", ".json")):
        return None
    return Reference(repo, found["revision"] or "main", found["file"])


def resolve_model(name: str | os.PathLike[str]) -> Path:
    """The path of the model called `name`: `name` itself if that path exists, else the embedded model or the cached
    model of that name. A model that is not in the cache is downloaded, which a line on stderr says.

    Raises NotFoundError where there is nothing of that name, NetworkError where the hub cannot be reached,
    ArgumentError where a repository has several models and `name` does not say which.
    """
    path = Path(name)
    try:
        if path.exists():
            return path
    except (OSError, ValueError):  # too long, or with a zero byte in it: no path
        pass
    if str(name) == EMBEDDED_NAME:
        return EMBEDDED_MODEL
    reference = parse_reference(str(name))
    if reference is None:
        raise NotFoundError(
            f"{name} cannot be read: no file or folder is there, and no model has that name; give a path, a repository "
            f"of the hub (ORG/REPO), or one of {', '.join(WELL_KNOWN)}."
        )
    return find_cached(reference) or pull(reference)


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


def find_cached(reference: Reference) -> Path | None:
    """The path of a model whose files are all in the cache, else None."""
    folder = repo_folder(reference.repo)
    commit = _commit(folder, reference.revision)
    if commit is None:
        return None
    snapshot = folder / "snapshots" / commit
    try:
        choice = choose(_files_in(snapshot), reference.file, str(reference))
    except NotFoundError:
        return None
    return snapshot / choice.entry if choice.complete else None


def pull(reference: Reference, token: str | None = None) -> Path:
    """Downloads what is needed to run a model, or brings it up to date, and returns its path.

    An interrupted download is resumed. A revision names its new commit only when all files are there.
    `token`: default `HF_TOKEN`. Raises NotFoundError, NetworkError and ArgumentError as `resolve_model`.
    """
    from sterna.files.atomic import atomic_write
    from sterna.files.hub.download import Hub

    hub = Hub(cache_folder(), reference.repo, token)
    commit, files = hub.listing(reference.revision)
    if COMMIT.fullmatch(commit) is None:
        raise FormatError(f"The hub's answer about {reference.repo} names no commit.")
    choice = choose(files, reference.file, str(reference))
    folder = repo_folder(reference.repo)
    hub.fetch(choice, commit)
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
    folder = repo_folder(reference.repo)
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


def _models_in(snapshot: Path, is_model: Callable[[Path], bool]) -> list[Choice]:
    """Every complete model of a snapshot."""
    files = _files_in(snapshot)
    names = [name for name in files if name.endswith(".gguf")] + ["safetensors"]
    choices = {}
    for name in names:
        try:
            choice = choose(files, name, "")
        except SternaError:
            continue
        if choice.complete and (choice.entry or is_model(snapshot)):
            choices[choice.entry] = choice
    return list(choices.values())
