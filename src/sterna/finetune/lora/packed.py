"""Products with a packed matrix that gradients pass through."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sterna import _native
from sterna.engine.native import native_tensors
from sterna.tensor.tensor import Tensor


class PackedMatrix:
    """A matrix that stays as it is stored: W · x, and Wᵀ · g for the backward pass, as `_native.Matrix` has them.

    Both read the stored bytes (in a mapped file, usually) and unpack a tile at a time. `activations` and `group_size`
    are those of `sterna.model.operations.Linear`. Raises ValueError where the engine has no such product.
    """

    def __init__(self, tensor: Tensor, activations: str, group_size: int, isa: str, threads: int) -> None:
        native = native_tensors([tensor], threads)[tensor.name]
        self._matrix = _native.Matrix(native, activations, group_size, isa)
        self._threads = threads

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x float32 [n, in] -> W · x, float32 [n, out]."""
        product: torch.Tensor = _Product.apply(x, self)
        return product

    def rows(self, ids: torch.Tensor) -> torch.Tensor:
        """The rows of int64 ids [n], float32 [n, in]; no gradient leads to them."""
        return torch.from_numpy(self._matrix.rows(ids.to(torch.int32).numpy()))

    def multiply(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self._matrix.multiply(_array(x), self._threads))

    def multiply_transposed(self, g: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self._matrix.multiply_transposed(_array(g), self._threads))

    def adapted(
        self, x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scale: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """x [n, in], a [rank, in], b [out, rank] -> W · x + B · h and h = scale · A · x, without gradients."""
        together = self._matrix.multiply_adapted(_array(x), _array(a), _array(b), scale, self._threads)
        if together is not None:
            return torch.from_numpy(together[0]), torch.from_numpy(together[1])
        hidden = (x @ a.T).mul_(scale)
        return self.multiply(x).addmm_(hidden, b.T), hidden

    def adapted_transposed(
        self, g: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scale: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """g [n, out] -> Wᵀ · g + Aᵀ · h and h = scale · Bᵀ · g, without gradients."""
        together = self._matrix.multiply_adapted_transposed(_array(g), _array(a), _array(b), scale, self._threads)
        if together is not None:
            return torch.from_numpy(together[0]), torch.from_numpy(together[1])
        hidden = (g @ b).mul_(scale)
        return self.multiply_transposed(g).addmm_(hidden, a), hidden


def _array(x: torch.Tensor) -> np.ndarray:
    return x.detach().contiguous().numpy()


class _Product(torch.autograd.Function):
    """W · x forward. Backward Wᵀ · g: gradients go straight through the quantiser of x (arXiv 1308.3432)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, matrix: PackedMatrix) -> torch.Tensor:
        ctx.matrix = matrix
        return matrix.multiply(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.matrix.multiply_transposed(gradients[0]), None
