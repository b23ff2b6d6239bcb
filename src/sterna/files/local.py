"""What a path on this machine stands for: the file or folder of the one model that is there, or why there is none."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sterna.errors import ArgumentError, NotFoundError, SternaError, UnsupportedError
from sterna.files.gguf.names import gguf_files, model_files
from sterna.files.gguf.reader import read_gguf
from sterna.files.hf_files import CONFIG, INDEX, WHOLE, weight_files
from sterna.files.regular import check_kind
from sterna.files.safetensors.reader import read_json

STATE_FILE = "state.safetensors"
"""Name of the checkpoint in the folder of a training run."""
MAX_NAMED = 20
MAX_LOOKED_AT = 2000
"""Folders and files below a folder among which models are looked for."""
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
    names = _names_in(folder)
    return CONFIG in names and (WHOLE in names or INDEX in names or not gguf_files(names))


def no_model(folder: Path) -> SternaError:
    """The error that says what a folder holds in place of a model that Sterna reads."""
    names = _names_in(folder)
    models = _models(folder, names)
    if len(models) > 1:
        return ArgumentError(f"{folder} holds several models: name one of its files ({_listed(models)}).")
    for error, pattern, sentence in INSTEAD:
        found = [name for name in names if fnmatchcase(name.lower(), pattern)]
        if found:
            return error(f"{folder} {sentence.format(_listed(found))}.")
    nested = _models_below(folder)
    if nested:
        return NotFoundError(f"{folder} holds no model itself, but there is one in {_listed(nested)}.")
    what = "is empty" if not _entries(folder) else "holds no model that Sterna reads"
    return NotFoundError(f"{folder} {what}: a model is a GGUF file, or a folder with {CONFIG} and {WHOLE}.")


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


def no_model_file(path: Path) -> UnsupportedError:
    """The error for a file that is of no kind that Sterna reads models from."""
    return UnsupportedError(
        f"{path} is no model: Sterna reads GGUF files, and folders of {CONFIG} and safetensors (never pickles)."
    )


def similar(path: Path, also: Sequence[str] = ()) -> list[str]:
    """Names of files and folders that are most like a path that is not there, and those like it of `also`."""
    missing, parent = path, path.parent
    while not parent.is_dir() and parent != parent.parent:
        missing, parent = parent, parent.parent
    names = {name.lower(): str(parent / name) if str(parent) != "." else name for name in _entries(parent)}
    found = get_close_matches(missing.name.lower(), names, n=2, cutoff=0.75)
    return [names[name] for name in found] + get_close_matches(str(path).lower(), also, n=2, cutoff=0.75)


def _model_in(folder: Path) -> Path:
    """The only GGUF model of a folder that is no model itself; else the folder."""
    names = _names_in(folder)
    if STATE_FILE in names or (CONFIG in names and (WHOLE in names or INDEX in names)):
        return folder
    models = _models(folder, names)
    return folder / models[0] if len(models) == 1 else folder


def _models(folder: Path, names: Sequence[str]) -> list[str]:
    """The GGUF models of a folder. Where their names do not tell them from their companions, the files do."""
    found = model_files(names)
    return found if len(found) == 1 else [name for name in found or gguf_files(names) if _is_model(folder / name)]


def _is_model(path: Path) -> bool:
    """Whether a GGUF file may be a model; a broken one may."""
    try:
        file = read_gguf(path)
    except SternaError:
        return True
    kind, architecture = (file.metadata.get(f"general.{key}") for key in ("type", "architecture"))
    return kind in (None, "model") and architecture != "clip" and bool(file.tensors or file.unsupported)


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


def _models_below(folder: Path) -> list[Path]:
    """Paths of models in folders of `folder`, as far down as `MAX_LOOKED_AT` entries reach."""
    found: list[Path] = []
    looked_at = 0
    for place, folders, files in os.walk(folder):
        looked_at += len(folders) + len(files)
        if looked_at > MAX_LOOKED_AT:
            break
        if CONFIG in files and (WHOLE in files or INDEX in files):
            found.append(Path(place))
        found += [Path(place) / name for name in model_files(files) if (Path(place) / name).is_file()]
    return sorted(found)


def _names_in(folder: Path) -> list[str]:
    """Names of the regular files of a folder, sorted."""
    return _entries(folder, lambda entry: entry.is_file())


def _entries(folder: Path, wanted: Callable[[os.DirEntry[str]], bool] = lambda entry: True) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if wanted(entry))
    except OSError as error:
        raise NotFoundError(f"{folder} cannot be read: {error.strerror}.") from error


def _listed(names: Sequence[object]) -> str:
    return ", ".join(map(str, names[:MAX_NAMED])) + (", ..." if len(names) > MAX_NAMED else "")
