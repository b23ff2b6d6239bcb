"""What a path on this machine stands for: the file or folder of the one model that is there."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sterna.errors import NotFoundError, SternaError
from sterna.files.gguf.names import gguf_files, model_files
from sterna.files.gguf.reader import read_gguf
from sterna.files.hf_files import CONFIG, INDEX, is_model_folder, weight_files
from sterna.files.regular import check_kind
from sterna.files.safetensors.reader import read_json

STATE_FILE = "state.safetensors"
"""Name of the checkpoint in the folder of a training run."""
ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL)


def as_path(name: str | os.PathLike[str]) -> Path:
    """The path that is meant by a name: `~` is the home folder, and `file://` an address."""
    text = os.fspath(name)
    if text.startswith("file://"):
        text = unquote(urlsplit(text).path)
    path = Path(text)
    return path.expanduser() if text.startswith("~") and os.path.expanduser(text) != text else path


def find_local(path: Path) -> Path | None:
    """What a reader opens for `path`: itself, or the model that it belongs to; None where nothing is there.

    A folder of one GGUF model stands for that file; `config.json`, the index and files of weights stand for their
    folder. Raises NotFoundError for what cannot be read, or is neither a file nor a folder.
    """
    try:
        mode = path.stat().st_mode
    except ValueError:  # a zero byte
        return None
    except OSError as error:
        if error.errno == errno.ENOENT and path.is_symlink():
            raise NotFoundError(f"{path} is a link to {os.readlink(path)}, which is not there.") from error
        if error.errno in ABSENT:
            return None
        raise NotFoundError(f"{path} cannot be read: {error.strerror}.") from error
    if stat.S_ISDIR(mode):
        if not os.access(path, os.R_OK | os.X_OK):
            raise NotFoundError(f"{path} cannot be read: {os.strerror(errno.EACCES)}.")
        return _model_in(path)
    check_kind(path, mode)
    return path.parent if _is_part_of_folder(path) else path


def is_hf_folder(folder: Path) -> bool:
    """Whether `config.json` describes what a folder holds: weights beside it, or at least no GGUF files."""
    names = names_in(folder)
    return is_model_folder(names) or (CONFIG in names and not gguf_files(names))


def _model_in(folder: Path) -> Path:
    """The only GGUF model of a folder that is no model itself; else the folder."""
    names = names_in(folder)
    if STATE_FILE in names or is_model_folder(names):
        return folder
    models = models_in(folder, names)
    return folder / models[0] if len(models) == 1 else folder


def models_in(folder: Path, names: Sequence[str]) -> list[str]:
    """The GGUF models of a folder. Where their names do not tell them from their companions, the files do."""
    found = model_files(names)
    return found if len(found) == 1 else [name for name in found or gguf_files(names) if _is_model(folder / name)]


def _is_model(path: Path) -> bool:
    """Whether a GGUF file may be a model; a broken one may."""
    try:
        file = read_gguf(path)
    except SternaError:
        return True
    kind, architecture = (str(file.metadata.get(f"general.{key}", "")) for key in ("type", "architecture"))
    return kind in ("", "model") and architecture != "clip" and bool(file.tensors or file.unsupported)


def _is_part_of_folder(path: Path) -> bool:
    """Whether a file is `config.json`, the index or a file of weights of a model in its folder."""
    folder = path.parent
    if path.name not in (CONFIG, INDEX) and path.suffix != ".safetensors" or not (folder / CONFIG).is_file():
        return False
    try:
        weights = weight_files(
            lambda name: (folder / name).is_file(), lambda: read_json(folder / INDEX), folder / INDEX
        )
    except SternaError:
        weights = []
    return path.name in (CONFIG, INDEX, *weights)


def names_in(folder: Path) -> list[str]:
    """Names of the regular files of a folder, sorted."""
    return entries_of(folder, lambda entry: entry.is_file())


def entries_of(folder: Path, wanted: Callable[[os.DirEntry[str]], bool] = lambda entry: True) -> list[str]:
    """Names of what is in a folder and `wanted`, sorted. Raises NotFoundError where the folder cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if wanted(entry))
    except OSError as error:
        raise NotFoundError(f"{folder} cannot be read: {error.strerror}.") from error


def model_name(text: str, path: Path) -> str:
    """The name by which requests and replies know a model. Of one that was given by a path it is the name of its file,
    without the suffix, or of its folder; otherwise it is what was given. `path`: as `resolve_model` found it."""
    if find_local(as_path(text)) is None:
        return text
    return path.stem if path.is_file() else path.resolve().name
