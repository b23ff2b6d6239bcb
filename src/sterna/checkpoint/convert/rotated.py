"""Matrices that multiply activations rotated in pairs (`operations.Rotate`), as those of the activations themselves:
no format that is written has such rotations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from sterna.checkpoint import Checkpoint
from sterna.model.builder import ROTATION
from sterna.model.oracle import rotate
from sterna.tensor.decode import decode
from sterna.tensor.encode import encode
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import AnyTensor, Tensor, TensorStream, whole


def turned_back(source: Checkpoint) -> Checkpoint:
    """The model without rotations: with `y = W · R(s · x)`, the columns of W are rotated back, from the last rotation
    to the first, and multiplied by s. Such matrices become F16."""
    tensors = dict(source.tensors)
    for pairs in [name for name in tensors if name.endswith("_rotation.pairs")]:
        matrix = pairs.removesuffix("_rotation.pairs")
        rotation = {part: decode(whole(tensors.pop(f"{matrix}_rotation.{part}"))) for part in ROTATION}
        tensors[f"{matrix}.weight"] = _turned_back(tensors[f"{matrix}.weight"], rotation)
    return replace(source, tensors=tensors)


def _turned_back(tensor: AnyTensor, rotation: Mapping[str, np.ndarray]) -> TensorStream:
    def make() -> Iterator[Tensor]:
        part = whole(tensor)
        for rows in part.row_chunks():
            values = rotate(decode(part.rows(*rows)), -rotation["angles"][::-1], rotation["pairs"][::-1])
            yield encode(tensor.name, values * rotation["scales"], Encoding.F16)

    return TensorStream(tensor.name, tensor.shape, Encoding.F16, make)
