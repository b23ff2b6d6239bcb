"""Exports a trained model, and checks that the file holds the weights that it was trained with."""

from __future__ import annotations

from pathlib import Path

import torch

from sterna.checkpoint import open_checkpoint
from sterna.checkpoint.convert import convert
from sterna.errors import FormatError
from sterna.tensor.decode import decode
from sterna.train.bitlinear import BitLinear, ternary_groups
from sterna.train.model import Decoder


def export(state: Path, gguf: Path, hf: Path, name: str, model: Decoder) -> None:
    """Converts `state` to a GGUF file and a Hugging Face folder, both called `name`; `model` has the same weights.

    Raises FormatError where the file's group-scaled matrices are not the trained ones to the bit.
    """
    for path in (gguf, hf):
        convert(state, path, name=name, force=True)
    tensors = open_checkpoint(gguf).load().tensors
    for matrix, values in group_values(model).items():
        if not torch.equal(torch.from_numpy(decode(tensors[matrix])), values.cpu()):
            raise FormatError(f"{gguf} does not hold the trained weights of {matrix}.")


def group_values(model: Decoder) -> dict[str, torch.Tensor]:
    """What group-scaled matrices are multiplied as: float32 [out, in] by canonical name."""
    with torch.no_grad():
        values = {
            f"{name}.weight": ternary_groups(layer.weight, layer.groups)
            for name, layer in model.named_modules()
            if isinstance(layer, BitLinear) and layer.groups is not None
        }
        if model.embedding_groups is not None:
            values["token_embd.weight"] = model.table()
    return values
