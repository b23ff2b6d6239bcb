"""The trained part: A and B of one matrix (LoRA, arXiv 2106.09685)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sterna.checkpoint.adapters import LowRank


class LoraLayer(nn.Module):
    """`scale · B (A dropout(x))` of the float rows x that the matrix quantises; a [rank, in], b [out, rank] float32."""

    def __init__(self, low: LowRank, dropout: float = 0.0) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.from_numpy(low.a.copy()))
        self.b = nn.Parameter(torch.from_numpy(low.b.copy()))
        self.scale, self.dropout = low.scale, dropout

    def added(self, out: Tensor, x: Tensor) -> Tensor:
        """`out` [n, out], to which the update of x [n, in] was added in place."""
        hidden = F.linear(F.dropout(x, self.dropout, self.training), self.a)
        return out.addmm_(hidden, self.b.T, alpha=self.scale)

    def low_rank(self) -> LowRank:
        """A and B as they are at present, copied."""
        return LowRank(self.a.detach().numpy().copy(), self.b.detach().numpy().copy(), self.scale)
