"""Norms that a conversion inserts: a ternary matrix wants inputs of one size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from sterna.train.model import Decoder, RMSNorm


def calibrate(decoder: Decoder, names: Iterable[str], batches: Iterable[tuple[Tensor, tuple[int, ...]]]) -> None:
    """Sets every gain of the norms whose names end in one of `names` to the root mean square of what they norm, so that
    inserting them changes little. `batches`: tokens int64 [1, n] and the lengths of the documents in them.

    What is measured is the model without these norms.
    """
    ends = tuple(names)
    norms = [module for name, module in decoder.named_modules() if name.endswith(ends) and isinstance(module, RMSNorm)]
    squares = {module: torch.zeros((), dtype=torch.float64) for module in norms}
    counts = dict.fromkeys(norms, 0)

    def passed_through(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        squares[module] += inputs[0].double().square().sum().cpu()
        counts[module] += inputs[0].numel()
        return inputs[0]

    hooks = [module.register_forward_hook(passed_through) for module in norms]
    try:
        with torch.no_grad():
            for tokens, lengths in batches:
                decoder.rows(tokens, lengths)
            for module in norms:
                module.weight.fill_((squares[module] / max(counts[module], 1)).sqrt().item())
    finally:
        for hook in hooks:
            hook.remove()


def inserted(norms: str) -> tuple[str, ...]:
    """How the names of the norms end that `convert.norms` inserts."""
    return {"none": (), "sub": ("_sub_norm",), "all": ("_norm_in",)}[norms]
