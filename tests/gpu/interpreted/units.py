"""Parts of golden plans that share steps, run by the GPU's steps on rows of our choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from sterna.gpu.cache import Pool
from sterna.gpu.frame import Frame
from sterna.gpu.fuse import fuse
from sterna.gpu.layouts import layout_of
from sterna.gpu.parameters import Parameters
from sterna.gpu.runner import Runner
from sterna.model.operations import Add, Attention, Linear, Norm, Operation, Rope, Scale, reads
from sterna.model.plan import Plan
from sterna.tensor.tensor import Tensor
from tests.golden_plans import GoldenPlan

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Unit:
    """Consecutive operations of a plan, with what they read and what the last of them gives."""

    operations: list[Operation]
    inputs: dict[str, np.ndarray]
    expected: np.ndarray


def units(golden: GoldenPlan) -> list[Unit]:
    """Operations that may share a step stay together: what comes before an attention, and what is added afterwards."""
    operations, found, at = golden.plan.operations, [], 0
    slots: dict[str, np.ndarray] = {}
    while at < len(operations):
        end = at
        while end < len(operations) and isinstance(operations[end], (Norm, Rope)):
            end += 1
        is_attention = end < len(operations) and isinstance(operations[end], Attention)
        own = is_attention and all(one.out in reads(operations[end]) for one in operations[at:end])
        end = end + 1 if own else at + 1
        while end < len(operations) and isinstance(operations[end], (Add, Scale)):
            end += 1
        unit = operations[at:end]
        inputs = {name: slots[name] for one in unit for name in reads(one) if name in slots}
        found.append(Unit(unit, inputs, golden.steps[end - 1]))
        slots |= {one.out: golden.steps[at + number] for number, one in enumerate(unit)}
        at = end
    return found


def run(
    plan: Plan, unit: Sequence[Operation], tensors: Mapping[str, Tensor], inputs: Mapping[str, np.ndarray],
    ids: Sequence[int], kv: str = "f32", start: int = 0,
) -> np.ndarray:  # fmt: skip
    """The rows of the last operation's slot, float32 [n, width], of one pass over n tokens of one sequence, the
    first at the position `start`."""
    out = unit[-1].out
    alone = replace(plan, operations=list(unit), output=out)
    activations = {one.weight: one.activations for one in unit if isinstance(one, Linear)}
    program = fuse(alone, lambda name: layout_of(tensors[name], activations[name]))
    frame, n = Frame(alone, CPU), len(ids)
    pools = {name: Pool(group, 8, kv, CPU) for name, group in alone.caches.items()}
    parameters = Parameters(alone, tensors, CPU)
    parameters.load(program.steps)
    runner = Runner(alone, parameters, frame, pools, CPU)
    width = -(-(start + n) // 64)
    frame.reserve(n, width)
    blocks = np.arange(7, 7 - width, -1, dtype=np.int32)[None]
    written = np.stack([np.asarray(ids), start + np.arange(n), np.zeros(n)]).astype(np.int32)
    frame.write(written, [blocks] * len(pools))
    for name, rows in inputs.items():
        frame.view(name).rows[:n] = torch.from_numpy(np.asarray(rows))
    runner.run(program.steps, n)
    return frame.view(out).rows[:n].numpy().copy()


def close(got: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5) -> bool:
    """Whether no number differs by more than a share of the largest."""
    return bool(np.abs(got - expected).max() <= tolerance * np.abs(expected).max())
