"""The ways to quantise matrices after training that folders use, one file each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sterna.checkpoint.hf.quantized.aqlm import AQLM
from sterna.checkpoint.hf.quantized.awq import AWQ
from sterna.checkpoint.hf.quantized.bitsandbytes import BITSANDBYTES
from sterna.checkpoint.hf.quantized.compressed_tensors import COMPRESSED_TENSORS
from sterna.checkpoint.hf.quantized.gptq import GPTQ
from sterna.checkpoint.hf.quantized.hqq import HQQ
from sterna.checkpoint.hf.quantized.littlebit import LITTLEBIT
from sterna.checkpoint.hf.quantized.method import Method
from sterna.checkpoint.hf.quantized.module import Module
from sterna.checkpoint.hf.quantized.onebit import ONEBIT
from sterna.checkpoint.hf.quantized.paroquant import PAROQUANT
from sterna.errors import UnsupportedError

__all__ = ["METHODS", "Method", "Module", "method_of"]

ALL = (AWQ, GPTQ, PAROQUANT, COMPRESSED_TENSORS, HQQ, BITSANDBYTES, AQLM, ONEBIT, LITTLEBIT)
METHODS = {method.name: method for method in ALL}
"""By `quant_method`."""


def method_of(raw: Mapping[str, Any], names: Iterable[str]) -> Method | None:
    """How the matrices of a folder with this `config.json` and tensors of these `names` are quantised; None where they
    are not, or in a way that is not one of `METHODS`. Raises UnsupportedError for QuIP#."""
    section = raw.get("quantization_config")
    if isinstance(section, Mapping):
        name = section.get("quant_method")
        return METHODS.get(name) if isinstance(name, str) else None
    if raw.get("quip_params") is not None:
        raise UnsupportedError(
            "it is quantised by QuIP#, whose table of lattice vectors (E8P12) Sterna does not have: "
            "take the model in another format."
        )
    # OneBit and LittleBit write no quantization_config.
    known = [method for method in (ONEBIT, LITTLEBIT) if any(name.endswith(f".{method.anchor}") for name in names)]
    return known[0] if known else None
