"""Single operations of a plan in the native engine, fed rows of our choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from sterna.engine.backend import Span
from sterna.engine.machine import choose_isa
from sterna.engine.native import NativeBackend
from sterna.model.operations import Attention, Embed, Operation, reads
from sterna.model.plan import Head, Plan
from sterna.tensor.tensor import Tensor

from .helpers import float_tensor


def run_operation(
    plan: Plan,
    operation: Operation,
    inputs: Mapping[str, np.ndarray],
    tensors: Mapping[str, Tensor],
    isa: str | None = None,
    kv: str = "f32",
) -> np.ndarray:
    """The engine's output of one operation, float32 [n, width]; its inputs [n, width] are passed as embeddings."""
    n = len(next(iter(inputs.values())))
    embeds = [Embed(slot, f"table {slot}") for slot in dict.fromkeys(reads(operation))]
    tables = {f"table {slot}": float_tensor(f"table {slot}", rows) for slot, rows in inputs.items()}
    head = {"head": float_tensor("head", np.zeros((1, plan.slots[operation.out])))}
    layers = operation.layer + 1 if isinstance(operation, Attention) else 1
    alone = replace(
        plan,
        vocab_size=n,
        head=Head("head"),
        output=operation.out,
        slots={slot: plan.slots[slot] for slot in (*inputs, operation.out)},
        caches={name: replace(group, layers=max(group.layers, layers)) for name, group in plan.caches.items()},
        operations=[*embeds, operation],
    )
    blocks = -(-n // 64)
    backend = NativeBackend(
        alone, {**tensors, **tables, **head}, isa=isa or choose_isa(), threads=2, blocks=blocks, kv=kv
    )
    return backend.forward([Span(range(n), 0, [range(blocks)] * len(backend.pools), n)])
