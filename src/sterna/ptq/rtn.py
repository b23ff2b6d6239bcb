"""Round to nearest: each group's codes span its least to its largest weight. It sees no calibration text."""

from __future__ import annotations

from sterna.checkpoint.hf.quantized.groups import GroupCodes
from sterna.model.architecture import MATRICES
from sterna.ptq.layers import Layer
from sterna.ptq.method import Method
from sterna.ptq.settings import Settings


def quantize(layer: Layer, settings: Settings) -> dict[str, GroupCodes]:
    """Rounds every matrix of the layer."""
    matrices = {}
    for name in MATRICES:
        matrices[name] = settings.grid.round(layer.weight(name))
        layer.set_weight(name, matrices[name].values())
    return matrices


RTN = Method("rtn", (2, 3, 4, 8), quantize, ("gptq", "awq", "compressed-tensors", "mlx", "gguf"), has_zeros=True)
