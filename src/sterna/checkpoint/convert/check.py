"""Compares a conversion with its source: the configuration before writing, values and codes after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from sterna.errors import FormatError, UnsupportedError
from sterna.model.config import ModelConfig
from sterna.tensor.decode import decode, ternary_codes
from sterna.tensor.encodings import TernaryBlocks
from sterna.tensor.pages import release
from sterna.tensor.recode import codes_of
from sterna.tensor.tensor import AnyTensor, whole
from sterna.ternary.importance import importance_shares

SCALE_PRECISION = 2**-8
"""Relative precision of a ternary scale, which may have passed through bfloat16."""


def same_config(before: ModelConfig, after: ModelConfig, tensors: Mapping[str, AnyTensor], format: str) -> None:
    """Raises UnsupportedError where a format would lose something of a configuration (beyond float32 rounding).

    The order of rotary pairs may differ, because q and k are permuted; so may the two names of BitNet models.
    """
    old, new = _comparable(before, tensors), _comparable(after, tensors)
    for key, value in old.items():
        if not _alike(value, new[key]):
            raise UnsupportedError(
                f"{format} has no words for this model's {key}: it would read {new[key]} instead of {value}."
            )


def _comparable(config: ModelConfig, tensors: Mapping[str, AnyTensor]) -> dict[str, Any]:
    values = asdict(config)
    del values["rope_style"]
    values["architecture"] = values["architecture"].replace("bitnet-b1.58", "bitnet")
    input_norms = any(name.endswith("_norm_in.weight") for name in tensors)
    values["input_norm_eps"] = (config.input_norm_eps or config.rms_norm_eps) if input_norms else None
    return values


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, float | tuple) and isinstance(other, float | int | tuple):
        first, second = np.asarray(one, np.float64), np.asarray(other, np.float64)
        return first.shape == second.shape and bool(np.allclose(first, second, rtol=1e-6, atol=0))
    return bool(one == other)


def is_of_layer(name: str) -> bool:
    """Whether a tensor belongs to a layer. Embeddings and heads have no latent weights."""
    return name.startswith("blk.")


def compare(
    source: Mapping[str, AnyTensor],
    written: Mapping[str, AnyTensor],
    latent: bool,
    done: Callable[[int], None] = lambda size: None,
    importance: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Raises FormatError where a tensor that was read back differs from the source's.

    Codes are compared exactly, scales and other values to the precision of their encoding; that of a matrix that was
    encoded with the `importance` of its columns is one of all its values together, weighted alike. `done` is called
    with the bytes of each tensor.
    """
    for name, expected in source.items():
        if name not in written:
            raise FormatError(f"Verification failed: the tensor {name} is not in what was written.")
        got = written[name]
        if got.shape != expected.shape:
            raise FormatError(f"Verification failed: the tensor {name} has another shape in what was written.")
        if got.encoding.is_ternary:
            same = _same_codes(expected, got, latent and is_of_layer(name))
        else:
            same = _same_values(expected, got, (importance or {}).get(name))
        if not same:
            raise FormatError(f"Verification failed: the tensor {name} differs from the source in what was written.")
        done(got.encoding.data_bytes(got.shape))


def _same_codes(expected: AnyTensor, got: AnyTensor, latent: bool) -> bool:
    packing = got.encoding.packing
    group = packing.group if isinstance(packing, TernaryBlocks) else None
    codes, scale = codes_of(whole(expected), latent, group)
    part = whole(got)
    got_codes, got_scale = ternary_codes(part)
    if not np.array_equal(codes, got_codes):
        return False
    # A matrix has one scale, or one for every group of columns. A group of zeros keeps no scale.
    groups = max(np.shape(each)[-1] if np.ndim(each) else 1 for each in (scale, got_scale))
    scale, got_scale = (
        np.repeat(each, groups // np.shape(each)[-1], axis=-1) if np.ndim(each) else each for each in (scale, got_scale)
    )
    blocks = codes.reshape(len(codes), groups, -1).any(axis=-1)
    difference = np.abs(np.asarray(got_scale, np.float64) - scale)
    release(part.data)
    return bool(np.all((difference <= SCALE_PRECISION * np.abs(scale)) | ~blocks))


def _same_values(expected: AnyTensor, got: AnyTensor, importance: np.ndarray | None) -> bool:
    tolerance = got.encoding.precision
    one, other = whole(expected), whole(got)
    for rows in one.row_chunks():
        first, second = one.rows(*rows), other.rows(*rows)
        values, read = decode(first), decode(second)
        finite = np.isfinite(values)
        # Values that are not finite must be equal.
        same = np.array_equal(values[~finite], read[~finite], equal_nan=True) and np.isfinite(read[finite]).all()
        if not same:
            return False
        if importance is not None:
            weight = importance_shares(importance).astype(np.float64)
            change, size = (np.where(finite, each, 0.0) for each in (values - read, values))
            if (weight * change**2).sum() > tolerance**2 * (weight * size**2).sum():
                return False
        elif (np.abs(values - read)[finite] > tolerance * np.abs(values[finite]).max(initial=0.0)).any():
            return False
        release(first.data)
        release(second.data)
    return True
