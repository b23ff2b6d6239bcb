"""ParoQuant's learning on the model of the golden set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sterna.checkpoint import Checkpoint, open_checkpoint
from sterna.model.architecture import MATRICES
from sterna.model.oracle import rotate
from sterna.ptq.layers import Source
from sterna.ptq.paroquant import quantize
from sterna.ptq.run import half
from sterna.ptq.settings import Settings
from sterna.tensor.decode import decode
from sterna.tensor.encode import encode
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import whole

from .. import helpers


def golden_in_floats() -> Checkpoint:
    """The golden ParoQuant model with its matrices turned back, in float32. They are within 6 % of those it was made
    of, and no more on a grid than these."""
    source = open_checkpoint(helpers.shared("golden-ptq", "paroquant"))
    values = {name: decode(whole(tensor)) for name, tensor in source.tensors.items()}
    floats = {}
    for name in values:
        rotation = name.replace(".weight", "_rotation.")
        matrix = values[name]
        if f"{rotation}pairs" in values:
            scales, angles, pairs = (values[f"{rotation}{part}"] for part in ("scales", "angles", "pairs"))
            matrix = (rotate(np.diag(scales), angles, pairs.astype(int)) @ matrix.T).T
        if "_rotation." not in name:
            floats[name] = encode(name, np.ascontiguousarray(matrix, np.float32), Encoding.F32)
    return half(replace(source, tensors=floats))


@pytest.mark.slow
def test_errors_of_outputs_are_less_than_half_of_those_of_rounding() -> None:
    """The mean over all matrices, each with the inputs that the quantised ones before it give: the authors' loop, for
    each matrix alone, came to 0.33 of rounding's."""
    source, settings = Source(golden_in_floats(), 32, "cpu"), Settings("paroquant")
    tokens = np.random.default_rng(0).integers(0, source.config.vocab_size, (128, 32))
    inputs = originals = source.embedded(torch.from_numpy(tokens))
    ratios = []
    for index in range(source.config.num_layers):
        layer = source.layer(index, inputs, originals)
        seen = {name: (layer.inputs_of(name, 16), layer.weight(name).clone()) for name in MATRICES}
        originals = layer.forward(originals)
        quantize(layer, settings)
        for name, (x, weight) in seen.items():
            error, rounding = (
                (x @ (made - weight).T).norm() for made in (layer.weight(name), settings.grid.nearest(weight))
            )
            ratios.append((error / rounding).item())
        inputs = layer.forward(inputs)
    assert len(ratios) == 14 and np.mean(ratios) <= 0.4, ratios
