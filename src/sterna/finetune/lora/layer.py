"""The trained part: A and B of one matrix (LoRA, arXiv 2106.09685)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sterna.checkpoint.adapters import LowRank
from sterna.finetune.lora.packed import PackedMatrix


class LoraLayer(nn.Module):
    """`scale · B (A dropout(x))` of the float rows x that the matrix quantises; a [rank, in], b [out, rank] float32."""

    def __init__(self, low: LowRank, dropout: float = 0.0) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.from_numpy(low.a.copy()))
        self.b = nn.Parameter(torch.from_numpy(low.b.copy()))
        self.scale, self.dropout = low.scale, dropout

    def forward(self, x: Tensor, matrix: PackedMatrix) -> Tensor:
        """The product of x [n, in] with the matrix and its update, float32 [n, out]."""
        dropped = F.dropout(x, self.dropout) if self.dropout and self.training else None
        out: Tensor = _Adapted.apply(x, dropped, self.a, self.b, self.scale, matrix)
        return out

    def low_rank(self) -> LowRank:
        """A and B as they are at present, copied."""
        return LowRank(self.a.detach().numpy().copy(), self.b.detach().numpy().copy(), self.scale)


class _Adapted(torch.autograd.Function):
    """W x + scale · B (A d), where d is x after dropout, or None for x itself.

    Its own backward pass, because autograd would multiply whole gradients by the scale, and add that of the update to
    that of the matrix in memory of its own.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dropped: Tensor | None, a: Tensor, b: Tensor, scale: float, matrix: PackedMatrix
    ) -> Tensor:
        ctx.drops, ctx.scale, ctx.matrix = dropped is not None, scale, matrix
        if dropped is None:
            low = x
            out, hidden = matrix.adapted(x, a, b, scale)
        else:
            low, hidden = dropped, (dropped @ a.T).mul_(scale)
            out = matrix.multiply(x).addmm_(hidden, b.T)
        ctx.save_for_backward(low, hidden, a, b)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        g, (low, hidden, a, b) = gradients[0], ctx.saved_tensors
        of_x = of_low = None
        if ctx.drops or not ctx.needs_input_grad[0]:
            of_hidden = (g @ b).mul_(ctx.scale)
            of_low = of_hidden @ a if ctx.drops else None
            of_x = ctx.matrix.multiply_transposed(g) if ctx.needs_input_grad[0] else None
        else:
            of_x, of_hidden = ctx.matrix.adapted_transposed(g, a, b, ctx.scale)
        return of_x, of_low, of_hidden.T @ low, g.T @ hidden, None, None
