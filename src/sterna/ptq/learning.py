"""Learning of a layer's quantised matrices, so that the layer gives what the model's own layers give.

Loss, optimizer, schedule and choice of the best state are those of ParoQuant's authors (z-lab/paroquant).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from sterna.ptq.layers import Layer

BATCH = 4
"""Windows of a step; ParoQuant's authors take 16."""
LEAST_RATE = 1 / 20
"""Of the first learning rate, at the end of a stage."""
VALIDATION_SHARE = 8
"""One window of so many is not learned from; with them the best state is chosen."""


@dataclass(frozen=True)
class Learning:
    """What a layer learns from: windows of inputs and, for the same text, what the model's own layers give, both
    float32 [windows, tokens, hidden]; and its matrices in learning, modules that give float32 [out, in]."""

    layer: Layer
    inputs: Tensor
    targets: Tensor
    matrices: nn.ModuleDict

    def loss(self, windows: Tensor) -> Tensor:
        """Of some windows: SmoothL1, the mean over all numbers."""
        weights = {f"{name}.weight": matrix() for name, matrix in self.matrices.items()}
        arguments = self.inputs[windows], self.layer.cos, self.layer.sin
        return F.smooth_l1_loss(functional_call(self.layer.block, weights, arguments), self.targets[windows])

    @torch.no_grad()
    def mean_loss(self, windows: Tensor) -> float:
        """Of many windows."""
        return sum(self.loss(part).item() * len(part) for part in windows.split(BATCH)) / len(windows)

    def stage(self, rates: Mapping[str, float], epochs: int, generator: torch.Generator) -> None:
        """Learns the parameters of these names, and takes the state, that of the beginning included, with the least
        loss on the windows that are kept apart."""
        count = len(self.inputs)
        apart = torch.arange(0, count, VALIDATION_SHARE)
        learned = torch.tensor([at for at in range(count) if at % VALIDATION_SHARE]) if count > 1 else apart
        groups = [{"params": list(self._parameters(name)), "lr": rate} for name, rate in rates.items()]
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.01)
        steps = epochs * -(-len(learned) // BATCH)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _cosine(step / steps))
        best, least = self._state(), self.mean_loss(apart)
        for _ in range(epochs):
            order = learned[torch.randperm(len(learned), generator=generator)]
            for windows in order.split(BATCH):
                optimizer.zero_grad()
                self.loss(windows).backward()
                optimizer.step()
                schedule.step()
            loss = self.mean_loss(apart)
            if loss < least:
                best, least = self._state(), loss
        self.matrices.load_state_dict(best)

    def _parameters(self, name: str) -> Iterator[nn.Parameter]:
        return (parameter for full, parameter in self.matrices.named_parameters() if full.endswith(f".{name}"))

    def _state(self) -> dict[str, Tensor]:
        return {name: values.clone() for name, values in self.matrices.state_dict().items()}


def _cosine(share: float) -> float:
    return LEAST_RATE + (1 - LEAST_RATE) * (1 + math.cos(math.pi * share)) / 2
