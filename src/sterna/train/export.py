"""Exports a trained model, and checks that the file holds the weights that it was trained with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from sterna.checkpoint import open_checkpoint
from sterna.checkpoint.convert import convert
from sterna.checkpoint.convert.gguf_file import check_gguf
from sterna.checkpoint.state import check_exports
from sterna.errors import FormatError, UnsupportedError
from sterna.model.config import ModelConfig
from sterna.tensor.decode import decode
from sterna.tensor.recode import interleaved_order
from sterna.ternary.quantization import Quantization
from sterna.train.bitlinear import BitLinear
from sterna.train.distributed import process_rank
from sterna.train.model import Decoder


@dataclass
class Exports:
    """What a model was exported to, and a sentence for each form that cannot hold it."""

    gguf: Path | None = None
    hf: Path | None = None
    refusals: list[str] = field(default_factory=list)


def refusals(config: ModelConfig, quantization: Quantization) -> list[str]:
    """A sentence for each reason why a model cannot be exported as a GGUF file, or at all."""
    try:
        check_exports(quantization)
        check_gguf(config)
    except UnsupportedError as error:
        return [str(error)]
    return []


def export(
    state: Path, gguf: Path, hf: Path | None, name: str, model: Decoder, gguf_type: str | None = None
) -> Exports:
    """Converts `state` to a GGUF file, whose matrices have the encoding `gguf_type` (None: as they were trained), and a
    Hugging Face folder, if one is wanted, both called `name`; `model` has the same weights.

    Of several processes, which must all call it, the first exports. Raises FormatError where the file's group-scaled
    matrices are not the trained ones to the bit.
    """
    done, values = Exports(), group_values(model)
    if process_rank() > 0:
        return done
    for kind, path, encoding in (("gguf", gguf, gguf_type), ("hf", hf, None)):
        if path is None:
            continue
        try:
            convert(state, path, name=name, force=True, type=encoding)
            setattr(done, kind, path)
        except UnsupportedError as error:
            if str(error) not in done.refusals:
                done.refusals.append(str(error))
    if done.gguf is not None and gguf_type is None:
        _compare(gguf, values, model.config.head_dim)
    return done


def _compare(gguf: Path, trained: dict[str, torch.Tensor], head_dim: int) -> None:
    """Raises FormatError where a file's group-scaled matrices are not the trained ones to the bit."""
    written = open_checkpoint(gguf).load()
    for name, values in trained.items():
        if written.config.rope_style == "interleaved" and name.endswith((".attn_q.weight", ".attn_k.weight")):
            values = values[interleaved_order(len(values), head_dim)]
        if not torch.equal(torch.from_numpy(decode(written.tensors[name])), values.cpu()):
            raise FormatError(f"{gguf} does not hold the trained weights of {name}.")


def group_values(model: Decoder) -> dict[str, torch.Tensor]:
    """What group-scaled matrices are multiplied as: float32 [out, in] by canonical name."""
    values = {
        f"{name}.weight": layer.values()
        for name, layer in model.named_modules()
        if isinstance(layer, BitLinear) and layer.quantization.groups is not None
    }
    return values | model.ternary_tables()
