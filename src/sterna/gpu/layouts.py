"""How matrices lie on a GPU, by their encodings."""

from __future__ import annotations

from dataclasses import dataclass

from sterna.errors import UnsupportedError
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import Tensor

BLOCK = 128
"""Columns of a block of ternary codes."""
PAIR = 64
"""Columns of INT4 codes that share 32 bytes."""


@dataclass(frozen=True)
class Layout:
    """How a matrix lies on the GPU."""

    kind: str
    """`ternary`, `int4`, `bytes`, `f16` or `f32`: the kernel's name for it."""
    columns: int
    """Columns of a row there: those of the matrix, in whole blocks."""
    group: int
    """Columns that share a scale; 0: the whole row does, and float matrices have none."""


_BYTES = {Encoding.Q8_0: 32, Encoding.Q4_0: 32, Encoding.Q6_K: 16}
"""Columns that share a scale in the encodings of whole numbers."""


def layout_of(tensor: Tensor, activations: str) -> Layout:
    """The layout of a matrix that is multiplied with such activations (`Linear`). Raises `UnsupportedError` for an
    encoding that no kernel reads."""
    encoding, columns = tensor.encoding, tensor.shape[-1]
    if encoding is Encoding.F16:
        return Layout("f16", columns, 0)
    if encoding.is_float or activations == "none":
        return Layout("f32", columns, 0)
    if encoding.is_int4:
        return Layout("int4", _whole(columns, PAIR), encoding.block)
    if encoding.is_ternary:
        group = 0 if encoding is Encoding.I2_S or encoding.is_tiled else encoding.block
        return Layout("ternary", _whole(columns, max(group, BLOCK)), group)
    if encoding in _BYTES:
        return Layout("bytes", columns, _BYTES[encoding])
    raise UnsupportedError(
        f"The GPU's engine has no kernel for {encoding.name}, in which {tensor.name!r} is; use the device cpu."
    )


def _whole(columns: int, block: int) -> int:
    return -(-columns // block) * block
