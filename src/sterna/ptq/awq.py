"""AWQ (arXiv 2306.00978): channels that see large activations are scaled up before rounding, and what goes into them is
scaled down in the operation before; then groups are clipped. The search is AutoAWQ's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sterna.checkpoint.hf.quantized.groups import GroupCodes
from sterna.ptq.grid import Grid
from sterna.ptq.layers import STAGES, Layer
from sterna.ptq.method import Method
from sterna.ptq.settings import Settings
from sterna.train.model import RMSNorm

RATIOS = tuple(step / 20 for step in range(20))
"""The exponents of activations that are tried (section 3.2)."""
SHRINKS = tuple(1 - step / 20 for step in range(10))
"""The shares of a group's largest magnitude that are tried as its limit."""
NOT_CLIPPED = ("attn_q", "attn_k")
"""Their errors meet in a product, which the error of one of them does not show."""
SEARCH_TOKENS, CLIP_TOKENS = 8192, 512
"""How many tokens scales and limits are searched with."""
LEAST_SCALE = 1e-4
ROWS_AT_ONCE = 64


@torch.no_grad()
def quantize(layer: Layer, settings: Settings) -> dict[str, GroupCodes]:
    """Scales all groups of matrices with one input, then clips and rounds them."""
    grid = settings.grid
    windows = max(SEARCH_TOKENS // layer.inputs.shape[1], 1)
    for names in STAGES:
        x = layer.inputs_of(names[0], windows)
        before = _before(layer, names)
        if before is not None:
            scales = best_scales([layer.weight(name) for name in names], x, grid, _output(layer, names, x, windows))
            _fold(layer, names, before, scales)
    matrices = {}
    for names in STAGES:
        x = layer.inputs_of(names[0], windows)
        for name in names:
            weight = layer.weight(name)
            matrices[name] = grid.round(weight if name in NOT_CLIPPED else clipped(weight, x, grid))
    for name, matrix in matrices.items():
        layer.set_weight(name, matrix.values())
    return matrices


def best_scales(
    weights: Sequence[Tensor], x: Tensor, grid: Grid, output: Callable[[Sequence[Tensor]], Tensor]
) -> Tensor:
    """The factors [in] of the columns of matrices [out, in] with the input x [tokens, in] with which `output`, what a
    module gives with such matrices, changes least when they are rounded."""
    expected = output(weights)
    activations, magnitudes = x.abs().mean(dim=0), _magnitudes(weights, grid)
    best, least = torch.ones_like(activations), torch.inf
    for ratio in RATIOS:
        scales = (activations**ratio / (magnitudes ** (1 - ratio) + 1e-4)).clamp(min=LEAST_SCALE)
        scales = scales / (scales.max() * scales.min()).sqrt()
        error = (
            (output([grid.nearest(weight * scales) / scales for weight in weights]) - expected).square().mean().item()
        )
        if error < least:
            best, least = scales, error
    return best


def _magnitudes(weights: Sequence[Tensor], grid: Grid) -> Tensor:
    """The mean over rows [in] of |w|, relative to the largest of its group."""
    groups = grid.grouped(torch.cat(list(weights)).abs())
    return (groups / (groups.amax(dim=-1, keepdim=True) + 1e-6)).flatten(-2).mean(dim=0)


def clipped(weight: Tensor, x: Tensor, grid: Grid) -> Tensor:
    """weight [out, in], each group cut at the magnitude with which its share of the product with x [tokens, in] changes
    least when it is rounded."""
    # Not every so many tokens: the first tokens of windows, whose activations are unlike others, would be too many.
    chosen = torch.linspace(0, len(x) - 1, min(len(x), CLIP_TOKENS), device=x.device).long()
    inputs = grid.grouped(x[chosen])  # [tokens, groups, group]
    return torch.cat([_clipped(grid.grouped(rows), inputs, grid).flatten(-2) for rows in weight.split(ROWS_AT_ONCE)])


def _clipped(groups: Tensor, inputs: Tensor, grid: Grid) -> Tensor:
    """As `clipped`, of groups [rows, groups, group]."""
    top = groups.abs().amax(dim=-1, keepdim=True)
    by_group = inputs.transpose(0, 1)  # [groups, tokens, group]
    best, least = groups, torch.full_like(top, torch.inf)
    for shrink in SHRINKS:
        cut = torch.clamp(groups, -top * shrink, top * shrink)
        scale, zero = grid.fit(cut)
        change = (grid.codes(cut, scale, zero) - zero) * scale - groups
        error = (by_group @ change.permute(1, 2, 0)).square().mean(dim=1).T[..., None]
        better = error < least
        best, least = torch.where(better, cut, best), torch.where(better, error, least)
    return best


def _before(layer: Layer, names: Sequence[str]) -> nn.Module | None:
    """The operation whose output is the input of these matrices, if its rows can take the inverse of their factors: a
    norm, or the matrix before."""
    norm, matrix = {
        "attn_q": ("attn_norm", None),
        "attn_output": ("attn_sub_norm", "attn_v"),
        "ffn_gate": ("ffn_norm", None),
        "ffn_down": ("ffn_sub_norm", "ffn_up"),
    }[names[0]]
    module = getattr(layer.block, norm)
    if isinstance(module, RMSNorm):
        return module
    # With grouped heads a row of v is a column of several heads' part of the output projection.
    fits = matrix is not None and len(layer.weight(matrix)) == layer.weight(names[0]).shape[1]
    return layer.matrix(matrix) if matrix is not None and fits else None


def _fold(layer: Layer, names: Sequence[str], before: nn.Module, scales: Tensor) -> None:
    """Multiplies the columns of matrices by their factors, and what goes into them by the inverse. Norms stay numbers
    of float16, as files keep them."""
    weight = before.weight
    assert isinstance(weight, Tensor)
    if weight.dim() == 1:
        folded = (weight / scales).half().float()
        scales = torch.where(folded != 0, weight / folded, 1.0)
        weight.copy_(folded)
    else:
        weight.div_(scales[:, None])
    for name in names:
        layer.weight(name).mul_(scales)


def _output(layer: Layer, names: Sequence[str], x: Tensor, windows: int) -> Callable[[Sequence[Tensor]], Tensor]:
    """What the module of these matrices, which have the input x, gives with other weights: attention, feed-forward, or
    the one matrix itself."""
    block = layer.block

    def attention(weights: Sequence[Tensor]) -> Tensor:
        with layer.restored():
            for name, weight in zip(names, weights, strict=True):
                layer.set_weight(name, weight)
            mixed = [block.attention(batch, layer.cos, layer.sin) for batch in layer.batches(layer.inputs[:windows])]
            return torch.cat([block.attn_output(block.attn_sub_norm(part)) for part in mixed])

    def feed_forward(weights: Sequence[Tensor]) -> Tensor:
        gate, up = (F.linear(x, weight) for weight in weights)
        down: Tensor = block.ffn_down(block.ffn_sub_norm(block.gate(gate) * up))
        return down

    known = {"attn_q": attention, "ffn_gate": feed_forward}
    return known.get(names[0], lambda weights: F.linear(x, weights[0]))


AWQ = Method("awq", (2, 3, 4, 8), quantize, ("awq", "gptq", "compressed-tensors", "mlx", "gguf"), has_zeros=True)
