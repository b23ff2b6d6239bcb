"""Which tensors an importance matrix helps to encode."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from sterna.checkpoint.imatrix import read_imatrix
from sterna.errors import ArgumentError, FormatError
from sterna.tensor.encodings import Encoding, FloatBlocks
from sterna.tensor.tensor import AnyTensor


def importances(
    path: str | os.PathLike[str], tensors: Mapping[str, AnyTensor], encodings: Mapping[str, Encoding]
) -> dict[str, np.ndarray]:
    """The importance of the columns, float32 [columns], of each matrix that is encoded with it, by name.

    `encodings`: what each of the `tensors` is to be encoded in. Raises as `read_imatrix` does, FormatError for the
    importance matrix of another model, and ArgumentError where no tensor changes to an encoding that it helps.
    """
    wanted = [
        name for name, encoding in encodings.items() if _chooses(encoding) and tensors[name].encoding is not encoding
    ]
    if not wanted:
        raise ArgumentError(f"No matrix is encoded with {path}: choose --type q4_0, q4_k, q5_k, q6_k or iq4_nl.")
    means = read_imatrix(path)
    found = {name: means[name] for name in wanted if name in means}
    strange = next((name for name, values in found.items() if values.size != tensors[name].shape[-1]), None)
    if strange is not None or not found:
        which = f"the importance of {len(means[strange])} columns of {strange!r}" if strange else "none of its matrices"
        raise FormatError(f"{path} is of another model: it has {which}.")
    return found


def without_importance(encodings: Mapping[str, Encoding], importance: Mapping[str, np.ndarray]) -> list[str]:
    """A sentence about matrices of layers that were encoded without importance, if there are any."""
    names = [
        name
        for name, encoding in encodings.items()
        if name.startswith("blk.") and _chooses(encoding) and name not in importance
    ]
    if not names:
        return []
    return [f"The importance matrix says nothing of {len(names)} matrices, such as {names[0]}."]


def _chooses(encoding: Encoding) -> bool:
    """Whether importance has a part in how an encoding is made."""
    return isinstance(encoding.packing, FloatBlocks) and encoding.packing.encode_weighted is not None
