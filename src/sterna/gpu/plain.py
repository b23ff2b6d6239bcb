"""Operations that move or add numbers, by torch: they are rare, and take little time."""

from __future__ import annotations

from collections.abc import Callable

import torch

from sterna.gpu.frame import Frame
from sterna.model.operations import Add, Operation, Permute, Rotate, Scale, Slice, Standardize, Transpose


def run_plain(operation: Operation, frame: Frame, tokens: int, vector: Callable[[str], torch.Tensor]) -> None:
    """Computes an operation for the first `tokens` rows of its slots; `vector` gives a tensor's values."""

    def rows(slot: str) -> torch.Tensor:
        return frame.view(slot).rows[:tokens]

    out = rows(operation.out)
    match operation:
        case Add(x=x, y=y):
            out.copy_(rows(x) + rows(y))
        case Scale(x=x, factor=factor):
            out.copy_(rows(x) * factor)
        case Rotate(x=x, scales=scales):
            out.copy_(rows(x) * vector(scales))
        case Permute(x=x, order=order):
            out.copy_(rows(x)[:, vector(order).long()])
        case Standardize(x=x, eps=eps):
            wide = rows(x).double()
            difference = wide - wide.mean(-1, keepdim=True)
            variance = difference.square().mean(-1, keepdim=True)
            out.copy_((difference / (variance + eps).sqrt()).float())
        case Slice(x=x, heads=heads, start=start):
            part = rows(x).unflatten(1, (heads, -1))[:, :, start : start + out.shape[1] // heads]
            out.copy_(part.flatten(1))
        case Transpose(x=x, rows=first, columns=second):
            out.copy_(rows(x).unflatten(1, (first, second, -1)).transpose(1, 2).flatten(1))
