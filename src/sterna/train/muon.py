"""Muon, which makes the update of a matrix orthogonal, for matrices of one shape together and for sharded ones.

torch.optim.Muon (torch 2.9) takes one matrix after the other, and of a sharded one multiplies the shards, whose sums
round differently. This one has the same formulas, constants and state.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from sterna.train.distributed import sharded_as, whole

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton-Schulz iteration (Keller Jordan, "Muon: An optimizer for hidden layers in neural networks")."""
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Momentum with Nesterov's step, orthogonalised; updates are scaled by 0.2·√max(out, in), so that they are as large
    as AdamW's (arXiv 2502.16982, equation 4). Weight decay is decoupled. Every process orthogonalises whole matrices.

    In bfloat16, which is faster, a gradient that differs in its last bit, because it was summed in another order, may
    round differently, and its update then differs by a few bfloat16 steps; in float32 by a few of float32's.
    """

    def __init__(self, matrices: Iterable[nn.Parameter], lr: float, precision: torch.dtype = torch.bfloat16) -> None:
        """`precision`: in which updates are made orthogonal; weights and momentum are float32."""
        super().__init__(matrices, {"lr": lr, "weight_decay": 0.0})
        self.precision = precision

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient; `closure` must be None."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[nn.Parameter]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    shapes.setdefault(matrix.shape, []).append(matrix)
            for shape, matrices in shapes.items():
                updates = orthogonal(
                    torch.stack([whole(self._momentum(matrix)).to(self.precision) for matrix in matrices])
                )
                rate = group["lr"] * 0.2 * max(shape) ** 0.5
                for matrix, update in zip(matrices, updates, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"])
                    matrix.add_(sharded_as(matrix, update), alpha=-rate)

    def _momentum(self, matrix: nn.Parameter) -> Tensor:
        """The gradient and the momentum before it, weighted."""
        state, gradient = self.state[matrix], matrix.grad
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        buffer = state["momentum_buffer"].lerp_(gradient, 1 - MOMENTUM)
        return gradient.lerp(buffer, MOMENTUM)


def orthogonal(matrices: Tensor) -> Tensor:
    """Near-orthogonal matrices with the singular vectors of `matrices` [n, rows, columns], of the same shape and type:
    their singular values lie between about 0.7 and 1.2 (Newton-Schulz iteration)."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.flatten(1).norm(dim=1)[:, None, None].clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
