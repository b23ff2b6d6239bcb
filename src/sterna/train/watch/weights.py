"""Counts what the quantisers make of a model's weights: shares of -1, 0 and +1, flips, scales."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sterna.train.bitlinear import BitLinear

SAMPLE = 1 << 16
"""About how many weights of a matrix are compared with what they were: a share of 1% is then seen to 0.04%."""


class WeightWatch:
    """Remembers a sample of the codes of every quantised matrix, to see how many have changed since."""

    def __init__(self, model: nn.Module) -> None:
        layers = ((name, module) for name, module in model.named_modules() if isinstance(module, BitLinear))
        self._layers = {name: layer for name, layer in layers if layer.quantization.weights != "float"}
        self._before: dict[str, Tensor] = {}

    def __call__(self) -> dict[str, dict[str, Any]]:
        """By matrix: the shares `negative`, `zero` and `positive`, the mean magnitude of what is not 0 (`scale`), and
        `flips`, the share of weights whose code is not that of the last call (None in the first). Empty for a model
        without quantised weights."""
        return {name: self._count(name, layer) for name, layer in self._layers.items()}

    def _count(self, name: str, layer: BitLinear) -> dict[str, Any]:
        values = layer.values().flatten()
        codes = values.sign().to(torch.int8)
        positive, negative = ((codes == sign).float().mean().item() for sign in (1, -1))
        sample = codes[:: max(1, codes.numel() // SAMPLE)].clone()
        before = self._before.get(name)
        self._before[name] = sample
        return {
            "negative": negative,
            "zero": 1 - positive - negative,
            "positive": positive,
            "scale": values.abs().mean().item() / max(positive + negative, 1e-9),
            "flips": None if before is None else (sample != before).float().mean().item(),
        }
