"""Which encoding each tensor gets: what was asked for, or the next that its rows fill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sterna.checkpoint import Checkpoint
from sterna.errors import UnsupportedError
from sterna.files.gguf.types import data_bytes
from sterna.model.validate import matrix_shapes
from sterna.tensor.encode import ENCODERS
from sterna.tensor.tensor import AnyTensor, Encoding
from sterna.tensor.ternary import is_ternary

FALLBACKS = {"tq1_0": "q4_0", "tq2_0": "q4_0", "i2_s": "q4_0", "q6_k": "q8_0"}
"""What takes rows that do not fill the blocks of a type, as in llama.cpp, which has no I2_S; all others, and types
that are not written here, give way to F16."""

FLOATS = (Encoding.F32, Encoding.F16, Encoding.BF16)
"""What a safetensors file can hold beside packed ternary matrices."""


@dataclass(frozen=True)
class Wanted:
    """The encodings that a caller asked for; None keeps what is there."""

    matrices: Encoding | None = None
    head: Encoding | None = None
    embedding: Encoding | None = None


@dataclass
class Layout:
    """The encoding of each tensor by canonical name, and how many fell back: (wanted, got) -> names."""

    encodings: dict[str, Encoding] = field(default_factory=dict)
    fallbacks: dict[tuple[Encoding, Encoding], list[str]] = field(default_factory=dict)


def lay_out(source: Checkpoint, tensors: Mapping[str, AnyTensor], wanted: Wanted, folder: bool, strict: bool) -> Layout:
    """Choose the encodings of the source's `tensors` in a GGUF file or a Hugging Face `folder`.

    With `strict`, rows that do not fill the wanted type raise UnsupportedError.
    """
    layout = Layout()
    matrices = {f"{name}.weight" for name in matrix_shapes(source.config)}
    for name, tensor in tensors.items():
        first = _wanted(source, name, tensor, wanted, matrices)
        if folder and len(tensor.shape) == 1:
            first = tensor.encoding
        if folder and is_ternary(first):
            first = Encoding.I2_S  # the packing has one scale for a matrix, too
        elif folder and first not in FLOATS:
            first = Encoding.F16
        encoding = first
        while not _holds(encoding, tensor.shape, folder):
            encoding = Encoding.F16 if folder else _fallback(encoding)
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
    """One float type beside packed matrices: transformers keeps each tensor's own there, and cannot mix them."""
    floats = {name: encoding for name, encoding in encodings.items() if not is_ternary(encoding)}
    if len(floats) == len(encodings):
        return
    kinds = set(floats.values())
    common = wanted.head or wanted.embedding or (kinds.pop() if len(kinds) == 1 else Encoding.F32)
    encodings |= dict.fromkeys(floats, common)


def _wanted(source: Checkpoint, name: str, tensor: AnyTensor, wanted: Wanted, matrices: set[str]) -> Encoding:
    if len(tensor.shape) == 1:
        return Encoding.F32
    if name.split(".", 2)[-1] in matrices and name.startswith("blk."):
        return wanted.matrices or (Encoding.I2_S if source.kind == "state" else tensor.encoding)
    own = Encoding.F16 if source.kind == "state" else tensor.encoding
    if name == "token_embd.weight" and source.config.tied_head:
        return wanted.head or wanted.embedding or own
    return {"token_embd.weight": wanted.embedding, "output.weight": wanted.head}.get(name) or own


def _fallback(encoding: Encoding) -> Encoding:
    name = FALLBACKS.get(encoding.value)
    return next((candidate for candidate in ENCODERS if candidate.value == name), Encoding.F16)


def _holds(encoding: Encoding, shape: tuple[int, ...], folder: bool) -> bool:
    """Whether the rows of a matrix fill the blocks of an encoding (packed matrices of folders: four rows a byte)."""
    if folder and is_ternary(encoding):
        return shape[0] % 4 == 0
    try:
        data_bytes(encoding, shape)
    except ValueError:
        return False
    return True


def sentences(fallbacks: Mapping[tuple[Encoding, Encoding], list[str]]) -> list[str]:
    """One sentence for each kind of fallback."""
    return [
        f"{len(names)} tensors, such as {names[0]}, do not fill the blocks of {first.value} and became {got.value}."
        for (first, got), names in fallbacks.items()
    ]
