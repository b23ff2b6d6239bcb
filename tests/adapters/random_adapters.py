"""Random adapters of tiny models, and the oracle with an adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sterna.checkpoint import Checkpoint
from sterna.checkpoint.adapters import Adapter, LowRank, in_model
from sterna.checkpoint.adapters.peft import write_peft
from sterna.model.architecture import MATRICES
from sterna.model.architectures import architecture_of
from sterna.model.config import ModelConfig
from sterna.model.operations import Linear, Operation
from sterna.model.oracle import Oracle

from ..helpers import oracle

ALL = (*MATRICES, "output")


def random_adapter(
    config: ModelConfig,
    seed: int = 0,
    targets: Sequence[str] = ALL,
    rank: int = 5,
    scale: float = 1.5,
    layers: Sequence[int] | None = None,
) -> Adapter:
    """An adapter of the matrices in `targets`, in all layers or some, whose effect is large enough to be seen."""
    rng, updates = np.random.default_rng(seed), {}
    for layer in range(config.num_layers) if layers is None else layers:
        shapes = architecture_of(config).layer_shapes(config, layer)
        for name in targets:
            if f"{name}.weight" in shapes:
                updates[f"blk.{layer}.{name}.weight"] = _low_rank(rng, shapes[f"{name}.weight"], rank, scale)
    if "output" in targets:
        updates["output.weight"] = _low_rank(rng, (config.vocab_size, config.hidden_size), rank, scale)
    return Adapter(updates, "base")


def _low_rank(rng: np.random.Generator, shape: Sequence[int], rank: int, scale: float) -> LowRank:
    a = rng.standard_normal((rank, shape[1])) / shape[1] ** 0.5
    b = rng.standard_normal((shape[0], rank)) * 0.1
    return LowRank(a.astype(np.float32), b.astype(np.float32), scale)


def saved(folder: Path, adapter: Adapter, config: ModelConfig) -> Path:
    """The adapter as a folder of PEFT."""
    folder.mkdir()
    write_peft(folder, adapter, config)
    return folder


class Adapted(Oracle):
    """The oracle with adapters and their scales: y = W x + scale * B (A x) in float32."""

    mix: Sequence[tuple[Mapping[str, LowRank], float]] = ()

    def _do(self, operation: Operation, slots: Mapping[str, np.ndarray], *rest: Any) -> np.ndarray:
        out = super()._do(operation, slots, *rest)
        return out + self._added(operation.weight, slots[operation.x]) if isinstance(operation, Linear) else out

    def logits(self, tokens: Sequence[int]) -> np.ndarray:
        return super().logits(tokens) + self._added("output.weight", self.hidden(tokens))

    def _added(self, name: str, x: np.ndarray) -> np.ndarray | float:
        found = ((updates[name], scale) for updates, scale in self.mix if name in updates)
        return sum((np.float32(scale * low.scale) * (x @ low.a.T @ low.b.T) for low, scale in found), 0.0)


def adapted_oracle(checkpoint: Checkpoint, mix: Sequence[tuple[Adapter, float]], **options: Any) -> Adapted:
    """The oracle of a model with adapters."""
    plain = oracle(checkpoint, **options)
    result = Adapted(plain.plan.to_dict(), plain.weights, plain.kv_dtype)
    result.mix = [(in_model(adapter, checkpoint.config, checkpoint.tensors).updates, scale) for adapter, scale in mix]
    return result
