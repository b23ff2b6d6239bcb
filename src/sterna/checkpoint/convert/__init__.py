"""Converts a model from any form that Sterna reads to a GGUF file or a Hugging Face folder.

Tensors are converted one by one while they are written, large ones in pieces, so memory does not grow with the model.
The result appears under its name only when it is complete.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from sterna.checkpoint import Checkpoint, open_checkpoint
from sterna.checkpoint.adapters.convert import merged
from sterna.checkpoint.convert import gguf_file, hf_folder
from sterna.checkpoint.convert.check import compare, is_of_layer
from sterna.checkpoint.convert.importance import importances, without_importance
from sterna.checkpoint.convert.layout import Wanted, lay_out, sentences
from sterna.checkpoint.convert.rotated import turned_back
from sterna.checkpoint.convert.value_heads import in_order
from sterna.checkpoint.gguf.keys import config_tensors
from sterna.errors import ArgumentError, NotFoundError, OptionError, SternaError
from sterna.files.atomic import publish, staging
from sterna.files.hf_files import TEMPLATES
from sterna.files.hub.cache import resolve_model
from sterna.files.sizes import readable
from sterna.tensor.encodings import Encoding
from sterna.tensor.latent import in_groups
from sterna.tensor.pages import release
from sterna.tensor.recode import Changes, half_order, interleaved_order, permute_rows, recode
from sterna.tensor.tensor import AnyTensor, Tensor, TensorStream
from sterna.tensor.ternary import untiled
from sterna.ternary.groups import group_quantizer
from sterna.ternary.tl import TL_TILES

__all__ = ["TYPES", "Report", "check_paths", "check_space", "convert", "target_tensors", "verify"]

TYPES = [encoding for encoding in Encoding if encoding.is_written]
"""Encodings that a conversion can write; others can only be copied."""
LEAST_SPLIT = 1 << 16
FILE_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".json")
"""Endings of the files in a Hugging Face folder; a target that has one was meant as a file."""


@dataclass(frozen=True)
class Report:
    """What a conversion did."""

    path: Path
    files: list[Path]
    bytes: int
    """Size of all tensors."""
    types: dict[str, int]
    """How many tensors have each encoding."""
    scale_change: float
    """Largest relative change of a ternary matrix's scale; 0 where the target holds them all exactly."""
    notes: list[str] = field(default_factory=list)
    """One sentence for each respect in which the result is not what was asked for."""


def convert(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    *,
    type: str | None = None,
    head: str | None = None,
    embedding: str | None = None,
    strict: bool = False,
    verify: bool = False,
    force: bool = False,
    split_bytes: int | None = None,
    name: str | None = None,
    i2s_layout: str = "x86",
    tl_tiles: str = "preset",
    group_size: int | None = None,
    zero_share: float | None = None,
    lora: Mapping[str, float] | None = None,
    imatrix: str | os.PathLike[str] | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Report:
    """Converts the model `src` to `dst`: a GGUF file if its name ends in `.gguf` (upper or lower case), else a Hugging
    Face folder.

    `src`: a GGUF file, a Hugging Face folder, or a checkpoint of `sterna train`. `type` is the encoding of the layers'
    matrices, `head` of the output matrix (and of an embedding that is tied to it), `embedding` of another embedding; by
    default each stays as it is, but for INT4 and rotated matrices, which become F16. Ternary matrices keep their codes
    exactly in every ternary type, `q4_0` included. A matrix whose rows do not fill a type's blocks falls back to
    another type (`Report.notes`), or raises UnsupportedError if `strict`. `verify` reads the result back before it gets
    its name, and raises FormatError where it differs from `src`. `force` replaces what is at `dst`. `split_bytes`: the
    most bytes of each part, if GGUF is to be split. `name`: `general.name`. `i2s_layout`: how a GGUF `src` keeps I2_S
    (`open_checkpoint`); the result is in the layout of x86. `tl_tiles`: the tiles of a TL1 `src`, which the file does
    not record: those of bitnet.cpp's presets (`preset`) or of its `setup_env.py` (`setup`). `group_size` (64 or 128)
    and `zero_share`: latent weights that come without a quantiser of their own are made ternary in groups of columns,
    with that share of zeros in each, instead of by absmean (`sterna.ternary.groups`). `lora`: scales, by their paths,
    of adapters that are merged in float32; `type` is then f32, f16, bf16 or q8_0. `imatrix`: an importance matrix
    (`checkpoint/imatrix.py`), with which float matrices are encoded in q4_0, q4_k, q5_k, q6_k and iq4_nl. `progress`
    is called with shares from 0 to 1.
    Raises NotFoundError, FormatError, UnsupportedError, and ArgumentError for types and paths that cannot be used.
    """
    if tl_tiles not in TL_TILES:
        raise OptionError("tl_tiles", f"is {' or '.join(TL_TILES)}, not {tl_tiles!r}.")
    source = _in_groups(turned_back(open_checkpoint(src, i2s_layout)), group_size, zero_share)
    dst = Path(dst)
    folder = dst.suffix.lower() != ".gguf"
    source = in_order(source, tiled=not folder)
    if lora:
        source = merged(source, lora, _type(type, folder), _type(head or type, folder))
    check_paths(resolve_model(src), dst, folder, force)
    wanted = Wanted(_type(type, folder), _type(head, folder), _type(embedding, folder))
    if source.config.tied_head and head and embedding and wanted.head is not wanted.embedding:
        raise ArgumentError("The head of this model is its embedding: give one type for both.")
    if split_bytes is not None and (folder or split_bytes < LEAST_SPLIT):
        raise ArgumentError(f"Only GGUF files can be split, in parts of at least {LEAST_SPLIT} bytes.")
    expected = target_tensors(source, "half" if folder else gguf_file.rope_style(source), folder, tl_tiles)
    layout = lay_out(source, expected, wanted, folder, strict)
    changes = Changes()
    importance = {} if imatrix is None else importances(imatrix, expected, layout.encodings)
    tensors = [
        recode(tensor, layout.encodings[name], changes, source.latent and is_of_layer(name), importance.get(name))
        for name, tensor in expected.items()
    ]
    total = sum(tensor.encoding.data_bytes(tensor.shape) for tensor in tensors)
    check_space(dst, total)
    done = _Progress(progress, total * (2 if verify else 1))

    with staging(dst) as stage:
        if folder:
            names = [dst.name]
            (stage / dst.name).mkdir()
            hf_folder.write_folder(stage / dst.name, source, tensors, hf_folder.config_json(source, tensors), done)
        else:
            parts = gguf_file.parts_of(dst.name, tensors, split_bytes)
            names = list(parts)
            for name_of_part in names:
                _check_free(dst.parent / name_of_part, force)
            gguf_file.write_files(stage, parts, gguf_file.metadata_of(source, tensors, name), done)
        if verify:
            _compare(expected, stage / names[0], source.latent, done, importance)
        for staged in names:
            publish(stage / staged, dst.parent / staged)
    files = [dst.parent / staged for staged in names]
    types = Counter(tensor.encoding.value for tensor in tensors)
    notes = sentences(layout.fallbacks)
    if imatrix is not None:
        notes += without_importance(layout.encodings, importance)
    if group_size is not None:
        notes.append(f"Latent weights were made ternary in groups of {group_size}, unlike in the model's training.")
    return Report(files[0], files, total, dict(types), changes.scale, notes)


def _in_groups(source: Checkpoint, group_size: int | None, zero_share: float | None) -> Checkpoint:
    """The model with its latent matrices made ternary in groups, if a size is given."""
    if group_size is None:
        if zero_share is not None:
            raise OptionError("zero_share", "needs a group size.")
        return source
    try:
        quantizer = group_quantizer(group_size, zero_share)
    except ValueError as error:
        raise OptionError("group_size", f"cannot be used: {error}.") from error
    layers = {name: tensor for name, tensor in source.tensors.items() if is_of_layer(name)}
    latent = {
        name: in_groups(tensor, quantizer)
        for name, tensor in layers.items()
        if source.latent and isinstance(tensor, Tensor) and len(tensor.shape) == 2 and tensor.encoding.is_float
    }
    if not latent:
        raise OptionError("group_size", f"is for latent weights, and {source.path} has none that are not ternary yet.")
    return replace(source, tensors={**source.tensors, **latent})


def verify(src: str | os.PathLike[str], dst: str | os.PathLike[str]) -> None:
    """Raises FormatError where the model at `dst` is not a conversion of the one at `src`: codes are compared exactly,
    scales and values to the precision of their encodings."""
    folder = Path(dst).is_dir()
    source = in_order(turned_back(open_checkpoint(src)), tiled=not folder)
    expected = target_tensors(source, "half" if folder else gguf_file.rope_style(source), folder)
    _compare(expected, Path(dst), source.latent, lambda size: None, {})


def _compare(
    expected: dict[str, AnyTensor],
    path: Path,
    latent: bool,
    done: Callable[[int], None],
    importance: Mapping[str, np.ndarray],
) -> None:
    written = open_checkpoint(path)
    compare(expected, {**written.tensors, **written.absorbed}, latent, done, importance)


class _Progress:
    """Counts bytes, and reports their share of the total."""

    def __init__(self, tell: Callable[[float], None], total: int) -> None:
        self.tell, self.total, self.bytes = tell, total, 0

    def __call__(self, size: int) -> None:
        self.bytes += size
        self.tell(min(self.bytes / self.total, 1.0))


def target_tensors(source: Checkpoint, rope_style: str, folder: bool, tl_tiles: str = "preset") -> dict[str, AnyTensor]:
    """The tensors that the target needs, in the source's encodings; q and k in the target's order of dimensions."""
    config = source.config
    tensors = {name: _untiled(tensor, tl_tiles) for name, tensor in source.tensors.items()}
    if not folder:
        gguf_file.check_gguf(config)
        own = source.absorbed.values() if source.kind == "gguf" else config_tensors(config)
        tensors |= {tensor.name: tensor for tensor in own}
    if rope_style != config.rope_style:
        reorder = interleaved_order if rope_style == "interleaved" else half_order
        for name, tensor in tensors.items():
            if name.endswith((".attn_q.weight", ".attn_k.weight")):
                tensors[name] = permute_rows(tensor, reorder(tensor.shape[0], config.head_dim))
    return tensors


def _untiled(tensor: AnyTensor, tl_tiles: str) -> AnyTensor:
    """A tensor in TL1 or TL2 as a stream that converts it to I2_S; any other tensor as it is."""
    if not isinstance(tensor, Tensor) or not tensor.encoding.is_tiled:
        return tensor

    def make() -> Iterator[Tensor]:
        yield untiled(tensor, tl_tiles)
        release(tensor.data)

    return TensorStream(tensor.name, tensor.shape, Encoding.I2_S, make)


def _type(name: str | None, folder: bool) -> Encoding | None:
    if name is None:
        return None
    known = [*hf_folder.TORCH_DTYPES, Encoding.I2_S] if folder else TYPES
    encoding = next((encoding for encoding in known if encoding.value == name.lower()), None)
    if encoding is None:
        where = "a Hugging Face folder (i2_s: packed ternary)" if folder else "GGUF"
        raise ArgumentError(f"{name!r} is no type for {where}; these are: {', '.join(t.value for t in known)}.")
    return encoding


def check_paths(src: Path, dst: Path, folder: bool, force: bool) -> None:
    """Raises, before any work is done, where the result could not be put at `dst`."""
    if not dst.name:
        raise ArgumentError(f"{dst} is no name for a file or folder.")
    if dst.suffix.lower() in FILE_SUFFIXES:
        raise ArgumentError(
            f"{dst} is not a folder's name; a Hugging Face model is a folder: give a name without {dst.suffix}."
        )
    if not dst.parent.is_dir():
        raise NotFoundError(f"The folder {dst.parent} is not there.")
    if not dst.exists():
        return
    inside = dst.resolve() in (src.resolve(), *src.resolve().parents)
    if inside:
        raise ArgumentError(f"{dst} is what is to be converted; choose another name.")
    if dst.is_dir() != folder:
        what = "a folder: a Hugging Face folder's name does not end in .gguf" if folder is False else "a file"
        raise ArgumentError(f"{dst} is {what}.")
    _check_free(dst, force)
    if folder:
        foreign = [path.name for path in dst.iterdir() if not _is_ours(path)]
        if foreign:
            raise ArgumentError(f"{dst} holds {foreign[0]!r}, which is no part of a model; it is not replaced.")


def _check_free(path: Path, force: bool) -> None:
    if path.exists() and not force:
        raise ArgumentError(f"{path} is there already; --force replaces it.")


def _is_ours(path: Path) -> bool:
    """Whether a conversion may delete this file, or folder of templates, of a folder that it replaces."""
    if path.name == TEMPLATES.rstrip("/") and path.is_dir():
        return all(template.is_file() and template.suffix == ".jinja" for template in path.iterdir())
    return path.is_file() and (path.name in hf_folder.WRITTEN or path.suffix == ".safetensors")


def check_space(dst: Path, size: int) -> None:
    """Raises SternaError where the disk of `dst` has less than `size` bytes free."""
    free = shutil.disk_usage(dst.parent).free
    if free < size:
        raise SternaError(f"{dst} needs {readable(size)}, and {readable(free)} are free on its disk.")
