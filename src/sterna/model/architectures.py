"""Which file describes which architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sterna.errors import UnsupportedError
from sterna.model import bitnet, gemma3, llama, qwen3
from sterna.model.config import ModelConfig
from sterna.model.plan import Plan, PlanBuilder
from sterna.tensor.tensor import Tensor

ARCHITECTURES: Mapping[str, Callable[[PlanBuilder], Plan]] = {
    "bitnet-b1.58": bitnet.build_plan,
    "bitnet": bitnet.build_plan,
    "llama": llama.build_plan,
    "qwen3": qwen3.build_plan,
    "gemma3": gemma3.build_plan,
}


def build_plan(config: ModelConfig, tensors: Mapping[str, Tensor], *, int8: bool = True) -> Plan:
    """The plan of a model. `int8`: ternary matrices take int8 activations (the contract), otherwise float32.

    Raises `UnsupportedError` for an architecture without a file here.
    """
    build = ARCHITECTURES.get(config.architecture)
    if build is None:
        known = ", ".join(ARCHITECTURES)
        raise UnsupportedError(f"The architecture '{config.architecture}' is not supported; these are: {known}.")
    return build(PlanBuilder(config, tensors, int8=int8))
