"""A model's plan in torch: packed matrices that stay as they are, and adapters beside them that are trained.

The plan is the one that every engine runs, so whatever the engine computes for an architecture is what is trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sterna.checkpoint.adapters import LowRank
from sterna.checkpoint.adapters.adapter import HEAD
from sterna.checkpoint.checkpoint import LoadedCheckpoint
from sterna.errors import UnsupportedError
from sterna.finetune.lora import operations
from sterna.finetune.lora.layer import LoraLayer
from sterna.finetune.lora.packed import PackedMatrix
from sterna.model.architectures import build_plan
from sterna.model.operations import (
    Add,
    Attention,
    Embed,
    Gated,
    Linear,
    Norm,
    Operation,
    Rope,
    Scale,
    Slice,
    reads,
    weights,
)
from sterna.model.plan import Plan
from sterna.tensor.decode import decode

DIFFERENTIABLE = (Embed, Norm, Linear, Rope, Attention, Gated, Add, Scale, Slice)
"""The operations that gradients pass through here."""


@dataclass(frozen=True)
class Segment:
    """The operations of one layer, or of what lies before and behind the layers, each with the slots that nothing reads
    after it. Only the rows in `inputs` are kept for the backward pass, which computes the others again."""

    operations: tuple[tuple[Operation, tuple[str, ...]], ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class AdaptedDecoder(nn.Module):
    """A packed model with an adapter. Its parameters are those of the adapter alone: `blk.0.attn_q.a`, ...

    `updates`: what the adapter begins with, by the names of `sterna.checkpoint.adapters.Adapter`, in the order of the
    model's own tensors (`in_model`). Raises UnsupportedError for a model with operations that no gradient passes.
    """

    def __init__(
        self,
        base: LoadedCheckpoint,
        updates: Mapping[str, LowRank],
        *,
        isa: str,
        threads: int,
        dropout: float = 0.0,
        activations: str = "int8",
    ) -> None:
        super().__init__()
        self.config = base.config
        self.checkpoints_layers = True
        plan = build_plan(base.config, base.tensors, activations=activations)
        _check(plan)
        self._plan, self._segments = plan, segments(plan)
        linears = {op.weight: (op.activations, op.group_size) for op in plan.operations if isinstance(op, Linear)}
        embeddings = {op.weight: ("none", 0) for op in plan.operations if isinstance(op, Embed)}
        head = base.tensors[plan.head.weight], plan.head.activations, plan.head.group_size
        self._matrices = {
            name: PackedMatrix(base.tensors[name], *form, isa, threads)
            for name, form in {**embeddings, **linears}.items()
        }
        self._head = PackedMatrix(*head, isa, threads)
        vectors = plan.weights() - self._matrices.keys() - {plan.head.weight}
        self._vectors = {name: torch.from_numpy(decode(base.tensors[name]).copy()) for name in sorted(vectors)}
        self._layers = {name: LoraLayer(low, dropout) for name, low in updates.items()}
        self.blk = nn.ModuleList(nn.ModuleDict() for _ in range(base.config.num_layers))
        for name, layer in self._layers.items():
            if name == HEAD:
                self.output = layer
            else:
                _, index, matrix, _ = name.split(".")
                self.blk[int(index)][matrix] = layer  # type: ignore[operator]

    def rows(self, tokens: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """tokens int64 [batch, n] -> the rows behind the last norm, float32 [batch, n, hidden_size].

        `lengths`: of the documents that lie one after the other in all rows of the batch, which do not see each other;
        None: each row is one.
        """
        batch, n = tokens.shape
        lengths = [n] * batch if lengths is None else list(lengths)
        angles = {name: operations.angles(lengths, each) for name, each in self._plan.frequencies.items()}

        def run(segment: Segment, *inputs: Tensor) -> tuple[Tensor, ...]:
            slots = dict(zip(segment.inputs, inputs, strict=True))
            for operation, dead in segment.operations:
                out = self._do(operation, slots, tokens.flatten(), lengths, angles)
                for name in dead:
                    slots.pop(name, None)
                slots[operation.out] = out
            return tuple(slots[name] for name in segment.outputs)

        saves = self.checkpoints_layers and torch.is_grad_enabled()
        kept = _Kept(self._segments, self._plan, batch * n) if saves else None
        rows: tuple[Tensor, ...] = ()
        for segment in self._segments:
            if kept is None or not rows:
                rows = run(segment, *rows)
            else:
                # The generator's state belongs to what is computed again only where there is dropout.
                rows = checkpoint(run, segment, *kept(rows), use_reentrant=False, preserve_rng_state=self._drops)
        return rows[0].unflatten(0, (batch, n))

    def logits(self, rows: Tensor) -> Tensor:
        """rows [..., hidden_size] -> logits float32 [..., vocab_size]."""
        flat = rows.reshape(-1, rows.shape[-1])
        logits = self._layers[HEAD](flat, self._head) if HEAD in self._layers else self._head(flat)
        return logits.unflatten(0, rows.shape[:-1])

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens int64 [batch, n] -> logits [batch, n, vocab_size]."""
        return self.logits(self.rows(tokens))

    def updates(self) -> dict[str, LowRank]:
        """The adapter as it is at present, in the order of the model's own tensors."""
        return {name: layer.low_rank() for name, layer in self._layers.items()}

    @property
    def _drops(self) -> bool:
        return self.training and any(layer.dropout for layer in self._layers.values())

    def _do(
        self,
        operation: Operation,
        slots: Mapping[str, Tensor],
        tokens: Tensor,
        lengths: Sequence[int],
        angles: Mapping[str, tuple[Tensor, Tensor]],
    ) -> Tensor:
        match operation:
            case Embed(weight=name):
                return self._matrices[name].rows(tokens)
            case Norm(x=x, weight=name, eps=eps, heads=heads):
                return operations.rms_norm(slots[x], self._vectors[name], eps, heads)
            case Linear(x=x, weight=name, bias=bias):
                layer = self._layers.get(name)
                out = self._matrices[name](slots[x]) if layer is None else layer(slots[x], self._matrices[name])
                return out if bias is None else out + self._vectors[bias]
            case Rope(x=x, heads=heads, style=style, frequencies=name):
                return operations.rope(slots[x], heads, style, *angles[name])
            case Attention(q=q, k=k, v=v, cache=cache, scale=scale):
                group = self._plan.caches[cache]
                return operations.attention(slots[q], slots[k], slots[v], lengths, group.head_dim, scale, group.window)
            case Gated(gate=gate, up=up, activation=name):
                return operations.GATES[name](slots[gate]) * slots[up]
            case Add(x=x, y=y):
                return slots[x] + slots[y]
            case Scale(x=x, factor=factor):
                return slots[x] * factor
            case Slice(out=out_name, x=x, heads=heads, start=start):
                stop = start + self._plan.slots[out_name] // heads
                return slots[x].unflatten(-1, (heads, -1))[..., start:stop].flatten(-2)
        raise AssertionError(operation)  # `_check` let none through


def _check(plan: Plan) -> None:
    strange = sorted({type(op).__name__.lower() for op in plan.operations if not isinstance(op, DIFFERENTIABLE)})
    if strange:
        raise UnsupportedError(
            f"Adapters are not trained beside this model, whose operations {', '.join(strange)} pass no gradients."
        )


def segments(plan: Plan) -> list[Segment]:
    """The operations of a plan in order, cut where the weights of another layer begin."""
    groups: list[list[Operation]] = []
    last = ""
    for operation in plan.operations:
        names = weights(operation)
        layer = ".".join(names[0].split(".")[:2]) if names else last
        if layer != last:
            groups.append([])
        groups[-1].append(operation)
        last = layer
    needed, result = {plan.output}, []
    for group in reversed(groups):
        outputs, done = tuple(sorted(needed)), []
        for operation in reversed(group):
            done.append((operation, tuple({operation.out, *reads(operation)} - needed)))
            needed = (needed - {operation.out}) | set(reads(operation))
        result.append(Segment(tuple(done[::-1]), tuple(sorted(needed)), outputs))
    return result[::-1]


class _Kept:
    """Room for the inputs of all segments, in one piece.

    What a segment computes meanwhile is then all freed at its end. Inputs of their own, allocated among it, would leave
    gaps between them that the C library cannot use well: forward and backward passes took three times the memory.
    """

    def __init__(self, segments: Sequence[Segment], plan: Plan, n: int) -> None:
        widths = [plan.slots[name] for segment in segments for name in segment.inputs]
        # Parts of a numpy array are tensors of their own to autograd, not views of one.
        room = np.empty(n * sum(widths), np.float32)
        self._room = iter(np.split(room, np.cumsum([n * width for width in widths])))

    def __call__(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """The same rows, in their room."""
        return [_Move.apply(each, torch.from_numpy(next(self._room)).view(each.shape)) for each in rows]


class _Move(torch.autograd.Function):
    """x in other memory; the identity backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, room: Tensor) -> Tensor:
        return room.copy_(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None
