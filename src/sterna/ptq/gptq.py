"""GPTQ (arXiv 2210.17323, algorithm 1): columns are rounded one after the other, and the columns that are not yet
rounded are changed to make up for each error."""

from __future__ import annotations

import torch
from torch import Tensor

from sterna.checkpoint.hf.quantized.groups import GroupCodes
from sterna.errors import UnsupportedError
from sterna.ptq.grid import Grid
from sterna.ptq.layers import STAGES, Layer
from sterna.ptq.method import Method
from sterna.ptq.settings import Settings

DAMPING = 0.01
"""What is added to the diagonal of the Hessian, as a share of its mean (section 3.3, step 3)."""
MOST_DAMPING = 1.0
BLOCK = 128
"""Columns whose errors are passed on to the rest of the matrix together (section 3.3, step 2)."""


def quantize(layer: Layer, settings: Settings) -> dict[str, GroupCodes]:
    """Quantises the matrices in the order in which a token passes them, each for the inputs that the quantised ones
    before it give ("true sequential")."""
    matrices = {}
    for names in STAGES:
        hessian = input_hessian(layer, names[0])  # the matrices of a stage have one input
        for name in names:
            matrices[name] = gptq(layer.weight(name), hessian, settings.grid, settings.act_order)
            layer.set_weight(name, matrices[name].values())
    return matrices


def input_hessian(layer: Layer, name: str) -> Tensor:
    """The Hessian of a matrix's squared error: 2 / n times XᵀX of its input X [n, in], float32 [in, in]."""
    columns = layer.weight(name).shape[1]
    total, count = torch.zeros(columns, columns, device=layer.inputs.device), 0

    def see(_: str, x: Tensor) -> None:
        nonlocal count
        total.addmm_(x.T, x)
        count += len(x)

    layer.observe([name], see)
    return total * (2 / count)


@torch.no_grad()
def gptq(weight: Tensor, hessian: Tensor, grid: Grid, act_order: bool = False) -> GroupCodes:
    """weight [out, in] on a grid whose groups are fitted when their first column is reached. `act_order`: columns come
    in the order of the Hessian's diagonal, the largest first, and groups are runs of them."""
    weight, hessian = weight.clone().float(), hessian.clone()
    columns, size = weight.shape[1], grid.group_size
    dead = hessian.diagonal() == 0
    hessian.diagonal()[dead] = 1
    weight[:, dead] = 0
    order = (
        torch.argsort(hessian.diagonal(), descending=True) if act_order else torch.arange(columns, device=weight.device)
    )
    weight, hessian = weight[:, order], hessian[order][:, order]
    inverse = _inverse_factor(hessian)
    codes, scales, zeros = torch.empty_like(weight), [], []
    for first in range(0, columns, BLOCK):
        last = min(first + BLOCK, columns)
        errors = torch.zeros_like(weight[:, first:last])
        for column in range(first, last):
            if column % size == 0:
                group = weight[:, column : column + size]
                if column + size > last:  # its later columns lack the errors of this block
                    group = group.clone()
                    group[:, last - column :] -= (
                        errors[:, : column - first] @ inverse[first:column, last : column + size]
                    )
                scale, zero = grid.fit_stored(group)
                scales.append(scale)
                zeros.append(zero)
            values = weight[:, column : column + 1]
            code = grid.codes(values, scale, zero)
            codes[:, column : column + 1] = code
            error = (values - (code - zero) * scale) / inverse[column, column]
            weight[:, column:last] -= error @ inverse[column : column + 1, column:last]
            errors[:, column - first : column - first + 1] = error
        weight[:, last:] -= errors @ inverse[first:last, last:]
    places = torch.empty_like(order)
    places[order] = torch.arange(columns, device=order.device)
    made = grid.matrix(codes[:, places], torch.cat(scales, dim=1), torch.cat(zeros, dim=1))
    if not act_order:
        return made
    return GroupCodes(made.bits, made.codes, made.scales, made.zeros, index=(places // size).int().cpu().numpy())


def _inverse_factor(hessian: Tensor) -> Tensor:
    """The upper Cholesky factor of the inverse of a damped Hessian. The damping grows until it is positive definite;
    raises UnsupportedError where it never is."""
    mean, damping = hessian.diagonal().mean(), DAMPING
    while damping <= MOST_DAMPING:
        damped = hessian.clone()
        damped.diagonal().add_(damping * mean)
        factor, info = torch.linalg.cholesky_ex(damped)
        if info.item() == 0:
            upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(factor), upper=True)
            if failed.item() == 0 and bool(torch.isfinite(upper).all()):
                return upper
        damping *= 2
    raise UnsupportedError(
        "The inputs of a matrix give no Hessian that can be inverted: the calibration text makes values that are not "
        "finite, or it is too short."
    )


GPTQ = Method("gptq", (2, 3, 4, 8), quantize, ("gptq", "awq", "compressed-tensors", "mlx", "gguf"), has_zeros=True)
