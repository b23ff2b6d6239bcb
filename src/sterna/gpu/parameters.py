"""The parameters of a plan on the device, each as the kernels read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from sterna.errors import UnsupportedError
from sterna.gpu.layouts import layout_of
from sterna.gpu.steps import EmbedStep, LinearStep, Step
from sterna.gpu.weights import Matrix, load, vector
from sterna.model.plan import Plan
from sterna.tensor.tensor import Tensor


class Parameters:
    """`load` puts matrices on the device. Vectors are put there when they are first asked for."""

    def __init__(self, plan: Plan, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        self._plan, self._tensors, self._device = plan, tensors, device
        self._matrices: dict[tuple[str, ...], Matrix] = {}
        self._small: dict[object, Any] = {}

    def load(self, steps: Sequence[Step]) -> None:
        """Puts the matrices of steps on the device. Raises as `weights.load`, and `UnsupportedError` for activations
        that no kernel multiplies a matrix with."""
        for step in steps:
            if isinstance(step, LinearStep):
                if self.matrix(step).layout.kind != "int4" and step.group_size:
                    raise UnsupportedError(
                        f"The GPU's engine multiplies {step.weights[0]!r} with activations of one scale alone; use the "
                        "device cpu."
                    )
            elif isinstance(step, EmbedStep):
                self.embedding(step)

    def matrix(self, step: LinearStep) -> Matrix:
        """The matrices of a step, which lie on the device as one."""
        return self._matrix(step.weights, step.activations)

    def embedding(self, step: EmbedStep) -> Matrix:
        """The embedding, which lies as the matrices of its encoding do: the head may be the same."""
        head, name = self._plan.head, step.weight
        activations = head.activations if name == head.weight else self._tensors[name].encoding.activations
        return self._matrix((name,), activations)

    def rows(self, name: str) -> int:
        """How many rows a matrix has."""
        return self._tensors[name].shape[0]

    def vector(self, name: str) -> torch.Tensor:
        """The values of a tensor of floats, float32."""
        return self._once(name, lambda: vector(self._tensors[name], self._device))

    def signs(self, name: str) -> torch.Tensor:
        """The signs of a rotation, float32 [width]."""
        values = self._plan.signs[name]
        return self._once(("signs", name), lambda: torch.tensor(values, dtype=torch.float32, device=self._device))

    def biases(self, step: LinearStep) -> torch.Tensor | None:
        """The biases of matrices that are one, float32 [rows], 0 for those that have none; None where none has."""
        if not any(step.biases):
            return None

        def joined() -> torch.Tensor:
            return torch.cat(
                [
                    torch.zeros(self.rows(weight), device=self._device) if bias is None else self.vector(bias)
                    for weight, bias in zip(step.weights, step.biases, strict=True)
                ]
            )

        return self._once(step.biases, joined)

    def rotations(self, angles: str, pairs: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of each rotation and column the other column of its pair (int32), and its cosine and sine (float32),
        [rotations, width]."""

        def made() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            turns, columns = self.vector(angles).double(), self.vector(pairs).long()
            i, j = columns[:, 0::2], columns[:, 1::2]
            other = torch.empty_like(columns).scatter_(1, i, j).scatter_(1, j, i).int()
            cosine, sine = (torch.empty(columns.shape, device=self._device) for _ in range(2))
            cosine.scatter_(1, i, turns.cos().float()).scatter_(1, j, turns.cos().float())
            sine.scatter_(1, i, turns.sin().float()).scatter_(1, j, -turns.sin().float())
            return other, cosine, sine

        return self._once((angles, pairs), made)

    def _matrix(self, names: tuple[str, ...], activations: str) -> Matrix:
        if names not in self._matrices:
            tensors = [self._tensors[name] for name in names]
            self._matrices[names] = load(tensors, layout_of(tensors[0], activations), self._device)
        return self._matrices[names]

    def _once(self, key: object, make: Callable[[], Any]) -> Any:
        if key not in self._small:
            self._small[key] = make()
        return self._small[key]
