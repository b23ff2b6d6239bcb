"""A way to quantise: how a folder that uses it is recognised, and how a matrix is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sterna.checkpoint.hf.quantized.module import Module
from sterna.errors import UnsupportedError, shown
from sterna.tensor.tensor import TensorStream


@dataclass(frozen=True)
class Method:
    """One `quant_method`. A matrix of the model is quantised if and only if the folder has its `anchor`."""

    name: str
    """`quant_method` of a `quantization_config`."""
    anchor: str
    """The ending of a tensor's name that every quantised matrix has, and no other."""
    others: tuple[str, ...]
    """The endings of the other tensors of a matrix, those included that have no effect."""
    check: Callable[[Mapping[str, Any]], None]
    """Raises UnsupportedError where a `quantization_config` asks for something that Sterna does not read."""
    read: Callable[[Module, Mapping[str, Any]], list[TensorStream]]
    """The weight, and what else its linear operation needs. Raises FormatError and UnsupportedError."""
    standardize_eps: float | None = None
    """Epsilon of the LayerNorms without weights directly after the matrices; None: there are none."""

    @property
    def endings(self) -> tuple[str, ...]:
        return self.anchor, *self.others


def expect(section: Mapping[str, Any], key: str, known: tuple[Any, ...], default: Any) -> None:
    """Raises UnsupportedError where a key of a `quantization_config` has a value that Sterna does not read."""
    value = section.get(key, default)
    if not any(type(value) is type(each) and value == each for each in known):  # 4.0 == 4, and shifts by no 4.0
        wanted = " or ".join(map(repr, known))
        raise UnsupportedError(f"its quantization_config has {key} = {shown(value)}, and Sterna reads {wanted}.")
