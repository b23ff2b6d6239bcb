"""The models that a server knows, by the names that requests use. A request never names a path."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sterna.checkpoint import open_checkpoint
from sterna.checkpoint.adapters import in_model, read_adapter
from sterna.errors import ArgumentError, NotFoundError, SternaError
from sterna.files.gguf.names import SPLIT_NAME, gguf_files, stem
from sterna.files.hf_files import is_model_folder
from sterna.files.hub import cache
from sterna.files.hub.download import Tell
from sterna.files.hub.names import parse_reference
from sterna.files.local import STATE_FILE, as_path, find_local, models_in, names_in


@dataclass(frozen=True)
class Known:
    """A model that requests may name."""

    name: str
    path: Path
    bytes: int
    """Of its weights' files."""
    created: int
    """When its weights were written: seconds since 1970."""
    reference: str | None = None
    """Its repository in the hub's cache, which `delete` removes; None for a model of any other place."""
    adapters: tuple[tuple[str, Path], ...] = ()
    """Adapters that are loaded with it: name and path."""
    adapter_bytes: int = 0
    """Of their weights' files."""
    base: str | None = None
    """The known model that runs, where this is the name of one with an adapter."""
    adapter: str | None = None
    """The adapter with which `base` runs."""

    @property
    def loads(self) -> str:
        """The name of the known model that is loaded for this one."""
        return self.base or self.name


def known(name: str, path: Path, reference: str | None = None) -> Known:
    """The model at a path. Raises `NotFoundError` where its files cannot be read."""
    try:
        stats = [file.stat() for file in _weight_files(path)]
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}.") from error
    created = int(max((stat.st_mtime for stat in stats), default=time.time()))
    return Known(name, path, sum(stat.st_size for stat in stats), created, reference)


def known_models(models: Sequence[str]) -> list[Known]:
    """The models of a command line under the names by which requests know them: a path goes by the name of its file or
    folder without the suffix, a name of the hub by itself. A folder of several models stands for each of them.

    Raises as `resolve_model`, as `open_checkpoint` for a single model that is broken, and `ArgumentError` where two
    models would have one name.
    """
    found: dict[str, Known] = {}
    for each in (each for text in models for each in _named(text)):
        if each.name in found:
            raise ArgumentError(
                f"Two models are called {each.name}: {found[each.name].path} and {each.path}; rename one."
            )
        found[each.name] = each
    return list(found.values())


def with_adapters(model: Known, adapters: Sequence[str]) -> list[Known]:
    """A model with adapters (`NAME=PATH`), and `MODEL:NAME` for each. Raises `ArgumentError` for what has another form,
    and as `read_adapter` and `in_model`."""
    if not adapters:  # a folder may have a broken model beside others
        return [model]
    checkpoint, found = open_checkpoint(model.path), dict[str, Known]()
    for text in adapters:
        name, _, path = text.partition("=")
        if not name.strip() or not path or name in found:
            raise ArgumentError(f"An adapter is NAME=PATH, each name once, not {text[:100]!r}.")
        in_model(read_adapter(path, checkpoint.config), checkpoint.config, checkpoint.tensors)
        found[name] = known(name, as_path(path))
    base = replace(
        model,
        adapters=tuple((name, each.path) for name, each in found.items()),
        adapter_bytes=sum(each.bytes for each in found.values()),
    )
    named = {name: f"{model.name}:{name}" for name in found}
    return [
        base,
        *(replace(base, name=each, reference=None, base=base.name, adapter=name) for name, each in named.items()),
    ]


def cached_models() -> list[Known]:
    """The models of the hub's cache, by their well-known names where they have one. Each file of a repository with
    several GGUF models has a name of its own as well, `ORG/REPO:FILE`."""
    from sterna.checkpoint.hf.folder import is_hf_model

    found: dict[str, Known] = {}
    for model in cache.cached_models(is_hf_model):
        files = gguf_files(model.files)
        for name in [model.name, *(f"{model.name}:{file}" for file in files if len(files) > 1)]:
            called = model.alias if model.alias and name == model.name else name
            reference = parse_reference(name)
            try:
                path = None if reference is None else cache.find_cached(reference)
            except SternaError:  # the name of the repository says nothing about which of its models is meant
                continue
            if path is not None:
                found[called] = known(called, path, model.name)
    return list(found.values())


def pulled(name: str, tell: Tell = lambda downloaded: None) -> Known:
    """A model of the hub, which is downloaded or brought up to date; `tell` as in `hub.cache.pull`. Raises as that, and
    `ArgumentError` for a name that is none of the hub: a path is never one."""
    reference = parse_reference(name)
    if reference is None:
        raise ArgumentError(f"{name[:100]} names no repository of the hub: give ORG/REPO.")
    return known(name, cache.pull(reference, tell=tell), str(parse_reference(reference.repo)))


def _named(text: str) -> Iterator[Known]:
    if find_local(as_path(text)) is None:
        reference = parse_reference(text)
        path = cache.resolve_model(text)
        open_checkpoint(path)
        yield known(text, path, None if reference is None else reference.repo)
        return
    path = cache.resolve_model(text)
    several = _models_of_folder(path) if path.is_dir() else []
    if not several:
        open_checkpoint(path)
    for each in several or [path]:
        yield known(stem(each.name) if each.is_file() else each.resolve().name, each)


def _models_of_folder(folder: Path) -> list[Path]:
    """The models in a folder that is no model itself: GGUF files, and folders of one model each."""
    if _is_model(folder):
        return []
    found = [folder / name for name in models_in(folder, names_in(folder))]
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.name.startswith("."):
            try:
                path = find_local(entry)
            except NotFoundError:
                continue
            if path is not None and (path.is_file() or _is_model(path)):
                found.append(path)
    return found


def _is_model(folder: Path) -> bool:
    names = names_in(folder)
    return STATE_FILE in names or is_model_folder(names)


def _weight_files(path: Path) -> list[Path]:
    """The files of a model that hold its weights."""
    if path.is_dir():
        return sorted(path.glob("*.safetensors"))
    split = SPLIT_NAME.fullmatch(path.name)
    if split is None:
        return [path]
    parts = (f"{split['name']}-{number:05}-of-{split['count']}.gguf" for number in range(1, int(split["count"]) + 1))
    return [path.with_name(part) for part in parts]
