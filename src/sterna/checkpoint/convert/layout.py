"""Chooses the encoding of each tensor: the one asked for, or the next fallback whose blocks its rows fill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sterna.checkpoint import Checkpoint
from sterna.errors import UnsupportedError
from sterna.model.architectures import architecture_of
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import AnyTensor


@dataclass(frozen=True)
class Wanted:
    """The encodings that a caller asked for; None keeps what is there."""

    matrices: Encoding | None = None
    head: Encoding | None = None
    embedding: Encoding | None = None


@dataclass
class Layout:
    """The encoding of each tensor by canonical name, and the tensors that fell back: (wanted, got) -> names."""

    encodings: dict[str, Encoding] = field(default_factory=dict)
    fallbacks: dict[tuple[Encoding, Encoding], list[str]] = field(default_factory=dict)


def lay_out(source: Checkpoint, tensors: Mapping[str, AnyTensor], wanted: Wanted, folder: bool, strict: bool) -> Layout:
    """Chooses the encodings of the source's `tensors` in a GGUF file or a Hugging Face `folder`.

    With `strict`, rows that do not fill the wanted type raise UnsupportedError.
    """
    layout = Layout()
    matrices = {f"{name}.weight" for name in architecture_of(source.config).matrices}
    for name, tensor in tensors.items():
        first = _wanted(source, name, tensor, wanted, matrices)
        if folder and len(tensor.shape) == 1:
            first = tensor.encoding
        if folder and first.is_ternary and not first.is_group_scaled:
            first = Encoding.I2_S  # packed matrices of a folder have one scale, too
        elif folder and not first.is_float:
            first = Encoding.F16
        encoding = first
        while not _holds(encoding, tensor.shape, folder):
            encoding = Encoding.F16 if folder else encoding.fallback
        if encoding is not first:
            if strict:
                raise UnsupportedError(
                    f"{name} has the shape {list(tensor.shape)}, whose rows do not fill the blocks of {first.value}: "
                    f"leave out --strict to keep it as {encoding.value}, or choose another type."
                )
            layout.fallbacks.setdefault((first, encoding), []).append(name)
        layout.encodings[name] = encoding
    if folder:
        _unify_floats(layout.encodings, wanted)
    return layout


def _unify_floats(encodings: dict[str, Encoding], wanted: Wanted) -> None:
    """Gives all float tensors beside packed matrices one type: transformers keeps their types, and cannot mix them."""
    floats = {name: encoding for name, encoding in encodings.items() if not encoding.is_ternary}
    if len(floats) == len(encodings):
        return
    kinds = set(floats.values())
    common = wanted.head or wanted.embedding or (kinds.pop() if len(kinds) == 1 else Encoding.F32)
    encodings |= dict.fromkeys(floats, common)


def _wanted(source: Checkpoint, name: str, tensor: AnyTensor, wanted: Wanted, matrices: set[str]) -> Encoding:
    if len(tensor.shape) == 1:
        return Encoding.F32
    kept = Encoding.F16 if tensor.encoding.is_int4 else tensor.encoding
    own = Encoding.F16 if source.kind == "state" and tensor.encoding.is_float else kept
    if name.split(".", 2)[-1] in matrices and name.startswith("blk."):
        if tensor.encoding.is_float and wanted.matrices is not None and wanted.matrices.is_ternary and _keeps(source):
            return own
        return wanted.matrices or (Encoding.I2_S if source.kind == "state" and source.latent else own)
    if name == "token_embd.weight" and source.config.tied_head:
        return wanted.head or wanted.embedding or own
    return {"token_embd.weight": wanted.embedding, "output.weight": wanted.head}.get(name) or own


def _keeps(source: Checkpoint) -> bool:
    """Whether a state says that matrices beside its ternary ones stayed floats."""
    return source.kind == "state" and any(tensor.encoding.is_ternary for tensor in source.tensors.values())


def _holds(encoding: Encoding, shape: tuple[int, ...], folder: bool) -> bool:
    """Whether a matrix fills the blocks of an encoding. A packed matrix of a folder has four rows in a byte."""
    if folder and encoding.is_ternary:
        return shape[0] % 4 == 0
    try:
        encoding.data_bytes(shape)
    except ValueError:
        return False
    return True


def sentences(fallbacks: Mapping[tuple[Encoding, Encoding], list[str]]) -> list[str]:
    """One sentence for each kind of fallback."""
    return [
        f"{len(names)} tensors, such as {names[0]}, do not fill the blocks of {first.value} and became {got.value}."
        for (first, got), names in fallbacks.items()
    ]
