"""Tensors as the kernels read them: bytes as a file has them where a kernel takes these, else packed anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sterna.errors import FormatError
from sterna.gpu.layouts import Layout
from sterna.tensor.decode import decode, ternary_codes
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import Tensor
from sterna.tensor.ternary import untiled
from sterna.ternary.blocks import Q4_0, Q6_K, Q8_0
from sterna.ternary.int4 import INT4


@dataclass(frozen=True)
class Matrix:
    """Rows of one matrix, or of several, one above the other."""

    layout: Layout
    rows: int
    columns: int
    """Columns of the input."""
    data: torch.Tensor
    scales: torch.Tensor
    """float32 [rows, groups]; for float matrices anything."""
    zeros: torch.Tensor
    """Zero points of INT4, float32 [rows, groups]; else anything."""


def load(tensors: Sequence[Tensor], layout: Layout, device: torch.device) -> Matrix:
    """Matrices of one layout as one. Raises `FormatError` for scales that are not finite."""
    parts = [_packed(untiled(tensor), layout) for tensor in tensors]
    data, scales, zeros = (torch.cat([part[i] for part in parts]).to(device) for i in range(3))
    rows = sum(tensor.shape[0] for tensor in tensors)
    return Matrix(layout, rows, tensors[0].shape[-1], data, scales, zeros)


def vector(tensor: Tensor, device: torch.device) -> torch.Tensor:
    """The values of a tensor of floats, float32."""
    return torch.from_numpy(np.array(decode(tensor), np.float32)).to(device)


def _packed(tensor: Tensor, layout: Layout) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Data, scales and zero points of one matrix."""
    rows, columns = tensor.shape
    none = np.zeros((rows, 1), np.float32)
    if layout.kind in ("f16", "f32"):
        values = tensor.data.view(np.float16).reshape(tensor.shape) if layout.kind == "f16" else decode(tensor)
        return _tensors(np.array(values), none, none)
    if layout.kind == "ternary":
        return _tensors(*_ternary(tensor, layout), none)
    if layout.kind == "int4":
        return _tensors(*_int4(tensor, layout))
    codes, scales = _codes(tensor)
    if not np.isfinite(scales).all():
        raise FormatError(f"The tensor {tensor.name!r} has a block whose scale is not finite.")
    return _tensors(codes.reshape(rows, columns), scales.reshape(rows, -1), none)


def _tensors(*arrays: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    data, scales, zeros = (torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)
    return data, scales, zeros


def _ternary(tensor: Tensor, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of I2_S uint8 [rows, columns / 4], each row in blocks of its own, and scales [rows, groups]."""
    rows, columns = tensor.shape
    if tensor.encoding is Encoding.I2_S and columns == layout.columns:
        data = tensor.data.reshape(rows, -1)
        # The field 3, which has no meaning, reads as the weight 0.
        data = data ^ ((data & (data >> 1) & 0x55) << 1)
        return data, np.full((rows, 1), tensor.scale, np.float32)
    data, all_scales = np.empty((rows, layout.columns // 4), np.uint8), []
    for first, last in tensor.row_chunks():
        codes, scales = ternary_codes(tensor.rows(first, last))
        fields = np.ones((last - first, layout.columns), np.uint8)
        fields[:, :columns] = codes + 1
        runs = fields.reshape(last - first, -1, 4, 32)
        packed = runs[:, :, 0] << 6 | runs[:, :, 1] << 4 | runs[:, :, 2] << 2 | runs[:, :, 3]
        data[first:last] = packed.reshape(last - first, -1)
        scale = np.asarray(scales, np.float32)
        all_scales.append(scale if scale.ndim else np.full((last - first, 1), scale))
    return data, _padded(np.concatenate(all_scales), layout)


def _int4(tensor: Tensor, layout: Layout) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bytes uint8 [rows, columns / 2] that hold the columns j and 32 + j of each 64, scales and zero points."""
    rows, columns = tensor.shape
    blocks = tensor.data.view(INT4[layout.group].dtype).reshape(rows, -1)
    fields = np.zeros((rows, layout.columns), np.uint8)
    fields[:, :columns] = np.stack([blocks["q"] & 15, blocks["q"] >> 4], axis=-1).reshape(rows, columns)
    pairs = fields.reshape(rows, -1, 2, 32)
    data = (pairs[:, :, 0] | pairs[:, :, 1] << 4).reshape(rows, -1)
    scales, zeros = blocks["d"].astype(np.float32), blocks["z"].astype(np.float32)
    return data, _padded(scales, layout), _padded(zeros, layout)


def _padded(scales: np.ndarray, layout: Layout) -> np.ndarray:
    """Scales of rows of whole groups: those of columns that pad a row are 0."""
    groups = layout.columns // layout.group if layout.group else 1
    return np.pad(scales, ((0, 0), (0, groups - scales.shape[1])))


def _codes(tensor: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Signed bytes of the values in Q8_0, Q4_0 and Q6_K, and the scales of their groups, in the order of the values."""
    if tensor.encoding is Encoding.Q8_0:
        blocks = tensor.data.view(Q8_0)
        return blocks["qs"], blocks["d"].astype(np.float32)
    if tensor.encoding is Encoding.Q4_0:
        blocks = tensor.data.view(Q4_0)
        fields = np.concatenate([blocks["qs"] & 15, blocks["qs"] >> 4], axis=-1)
        return fields.view(np.int8) - np.int8(8), blocks["d"].astype(np.float32)
    blocks = tensor.data.view(Q6_K)
    low = blocks["ql"].reshape(-1, 2, 2, 32)  # halves, bytes of even and odd runs
    low = np.stack([low & 15, low >> 4], axis=2).reshape(-1, 2, 4, 32)
    high = np.stack([blocks["qh"] >> shift & 3 for shift in (0, 2, 4, 6)], axis=2)
    codes = (low | high << 4).view(np.int8) - np.int8(32)
    return codes, blocks["d"].astype(np.float32)[:, None] * blocks["scales"]
