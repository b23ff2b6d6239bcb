"""Signs: one bit a weight, and for each group of columns its mean magnitude, the scale of least squares. It sees no
calibration text."""

from __future__ import annotations

import numpy as np

from sterna.checkpoint.hf.quantized.signs import Signs
from sterna.model.architecture import MATRICES
from sterna.ptq.layers import Layer
from sterna.ptq.method import Method
from sterna.ptq.settings import Settings


def quantize(layer: Layer, settings: Settings) -> dict[str, Signs]:
    """The signs of every matrix of the layer."""
    matrices = {}
    for name in MATRICES:
        weight = layer.weight(name)
        scales = settings.grid.grouped(weight).abs().mean(dim=-1).half().float()
        matrices[name] = Signs((weight >= 0).cpu().numpy().astype(np.uint8), scales.cpu().numpy())
        layer.set_weight(name, matrices[name].values())
    return matrices


SIGN = Method("sign", (1,), quantize, ("mlx", "gguf"))
