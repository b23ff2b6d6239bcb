"""The optimizer: ternary matrices by AdamW or Muon, embedding and norms by AdamW."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from sterna.train.bitlinear import BitLinear
from sterna.train.config import TrainingSection
from sterna.train.muon import Muon

SLOTS: dict[type[torch.optim.Optimizer], frozenset[str]] = {
    torch.optim.AdamW: frozenset(("step", "exp_avg", "exp_avg_sq")),
    Muon: frozenset(("momentum_buffer",)),
}
"""The names of the state tensors that the optimizers keep for each parameter."""


@dataclass(frozen=True)
class Optimizers:
    """Two torch optimizers with their peak learning rates: one for the ternary matrices, which alone have weight
    decay, and one for the rest."""

    parts: tuple[tuple[torch.optim.Optimizer, float], tuple[torch.optim.Optimizer, float]]

    def step(self, factor: float, weight_decay: float) -> None:
        """One update at `factor` times the peak learning rates; gradients are cleared."""
        for group in self.parts[0][0].param_groups:
            group["weight_decay"] = weight_decay
        for optimizer, peak in self.parts:
            for group in optimizer.param_groups:
                group["lr"] = peak * factor
            optimizer.step()
        self.zero_grad()

    def zero_grad(self) -> None:
        """Clears the gradients."""
        for optimizer, _ in self.parts:
            optimizer.zero_grad(set_to_none=True)

    def state_of(self, parameter: nn.Parameter) -> dict[str, torch.Tensor]:
        """The state tensors of one parameter; writing into the dictionary restores them."""
        return self._of(parameter).state[parameter]

    def slots_of(self, parameter: nn.Parameter) -> frozenset[str]:
        """The names of one parameter's state tensors, which exist after its first step."""
        return SLOTS[type(self._of(parameter))]

    def _of(self, parameter: nn.Parameter) -> torch.optim.Optimizer:
        for optimizer, _ in self.parts:
            if any(parameter is own for group in optimizer.param_groups for own in group["params"]):
                return optimizer
        raise KeyError("The parameter belongs to no optimizer.")


def make_optimizers(model: nn.Module, training: TrainingSection) -> Optimizers:
    """AdamW (arXiv 1711.05101); for ternary matrices Muon if asked, its updates as large as AdamW's (arXiv 2502.16982).

    Only ternary matrices have weight decay, or the matrices of adapters.
    """
    ternary = [module.weight for module in model.modules() if isinstance(module, BitLinear)]
    if not ternary:  # a model whose matrices are not trained, but adapters of them: these are what decays
        ternary = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    chosen = set(map(id, ternary))
    rest = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    first: torch.optim.Optimizer
    if training.optimizer == "muon":
        first = Muon(ternary, lr=0.0, precision=torch.bfloat16 if training.precision == "bf16" else torch.float32)
    else:
        first = torch.optim.AdamW(ternary, lr=0.0, betas=(0.9, 0.95), fused=True)
    # torch takes no empty list of parameters, but an empty group.
    second = torch.optim.AdamW([{"params": rest}], lr=0.0, weight_decay=0.0, betas=(0.9, 0.95), fused=True)
    return Optimizers(((first, training.learning_rate), (second, training.embedding_learning_rate)))
