"""Matrices that multiply rotated or permuted activations (`operations.Rotate`, `Permute`), as those of the activations
themselves: no format that is written has either."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

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
    to the first, and multiplied by s. Columns in another order get their own places. Such matrices become F16."""
    tensors = dict(source.tensors)
    for order in [name for name in tensors if name.endswith("_permutation.order")]:
        weight = f"{order.removesuffix('_permutation.order')}.weight"
        columns = decode(whole(tensors.pop(order))).astype(np.int64)
        tensors[weight] = _in_float16(tensors[weight], partial(_own_places, columns))
    for scales in [name for name in tensors if name.endswith("_rotation.scales")]:
        matrix = scales.removesuffix("_rotation.scales")
        parts = {part: tensors.pop(f"{matrix}_rotation.{part}", None) for part in ROTATION}
        rotation = {part: decode(whole(tensor)) for part, tensor in parts.items() if tensor is not None}
        tensors[f"{matrix}.weight"] = _in_float16(tensors[f"{matrix}.weight"], partial(_turned_back, rotation))
    return replace(source, tensors=tensors)


def _own_places(order: np.ndarray, values: np.ndarray) -> np.ndarray:
    places = np.empty_like(values)
    places[:, order] = values
    return places


def _turned_back(rotation: Mapping[str, np.ndarray], values: np.ndarray) -> np.ndarray:
    if "pairs" in rotation:
        values = rotate(values, -rotation["angles"][::-1], rotation["pairs"][::-1])
    turned: np.ndarray = values * rotation["scales"]
    return turned


def _in_float16(tensor: AnyTensor, change: Callable[[np.ndarray], np.ndarray]) -> TensorStream:
    """The matrix with other values: `change` takes and gives some rows in float32."""

    def make() -> Iterator[Tensor]:
        part = whole(tensor)
        for rows in part.row_chunks():
            yield encode(tensor.name, change(decode(part.rows(*rows))), Encoding.F16)

    return TensorStream(tensor.name, tensor.shape, Encoding.F16, make)
