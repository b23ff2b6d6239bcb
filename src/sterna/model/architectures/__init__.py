"""Every architecture that Sterna knows: each file of this folder lists its own in `ARCHITECTURES`."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module

from sterna.errors import UnsupportedError
from sterna.model.architecture import Architecture, GGUFVariant, HFClass
from sterna.model.builder import PlanBuilder
from sterna.model.config import ModelConfig
from sterna.model.plan import Plan
from sterna.tensor.tensor import Tensor

ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for module in sorted(entry.name for entry in pkgutil.iter_modules(__path__))
    for architecture in import_module(f"{__name__}.{module}").ARCHITECTURES
}
"""By `ModelConfig.architecture`."""

GGUF_VARIANTS: dict[str, tuple[Architecture, GGUFVariant]] = {
    name: (architecture, variant)
    for architecture in ARCHITECTURES.values()
    for name, variant in architecture.gguf.items()
}
"""By GGUF's `general.architecture`."""

HF_CLASSES: dict[str, tuple[Architecture, HFClass]] = {
    name: (architecture, hf_class)
    for architecture in ARCHITECTURES.values()
    for name, hf_class in architecture.hf.items()
}
"""By class in `architectures` of a `config.json`."""


def architecture_of(config: ModelConfig) -> Architecture:
    """The architecture of a model. Raises UnsupportedError for one without a file here."""
    found = ARCHITECTURES.get(config.architecture)
    if found is None:
        known = ", ".join(ARCHITECTURES)
        raise UnsupportedError(f"Sterna does not know the architecture '{config.architecture}'; it knows {known}.")
    return found


def build_plan(config: ModelConfig, tensors: Mapping[str, Tensor], *, activations: str = "int8") -> Plan:
    """The plan of a model. `activations` of ternary matrices: `int8` (as BitNet is trained), `int15`, or `none` for
    float32.

    Raises UnsupportedError as `architecture_of`.
    """
    builder = PlanBuilder(config, tensors, activations=activations)
    architecture_of(config).plan(builder)
    return builder.finish()
