"""A plan as the steps of a GPU: which operations share a launch (a layer of BitNet takes ten).

These are the steps of the browser's engine (`web/engine/src/gpu/compile.ts`); a test compares both lists. Operations
that only this engine has are steps of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from sterna.errors import UnsupportedError
from sterna.gpu.slots import side_by_side
from sterna.gpu.steps import (
    LOGITS,
    AttentionStep,
    EmbedStep,
    HadamardStep,
    HeadsStep,
    LinearStep,
    NormAddStep,
    PlainStep,
    Program,
    RotateStep,
    RowStep,
    Step,
)
from sterna.model.operations import (
    Add,
    Attention,
    Embed,
    Gated,
    Hadamard,
    Linear,
    Norm,
    Operation,
    Permute,
    Rope,
    Rotate,
    Scale,
    Slice,
    Standardize,
    Transpose,
    reads,
)
from sterna.model.plan import Head, Plan

PLAIN = (Add, Scale, Permute, Standardize, Slice, Transpose)


def fuse(plan: Plan, layout: Callable[[str], Hashable]) -> Program:
    """The steps of a plan. `layout`: what matrices have in common that are multiplied as one, by a matrix's name.

    Raises `UnsupportedError` for an operation that no step computes.
    """
    return _Fusion(plan, layout).program()


class _Fusion:
    def __init__(self, plan: Plan, layout: Callable[[str], Hashable]) -> None:
        self.plan, self.layout = plan, layout
        self.neighbours = side_by_side(plan)
        self.steps: list[Step] = []
        self.at = 0
        self.fresh: dict[str, tuple[str, int]] = {}
        """Slots whose whole numbers are those of their rows, with the kind."""

    def program(self) -> Program:
        while self.at < len(self.plan.operations):
            self._next(self.plan.operations[self.at])
        head, output = self.plan.head, self.plan.output
        matrix = LinearStep(LOGITS, output, (head.weight,), (None,), head.activations, head.group_size)
        return Program(tuple(self.steps), matrix)

    def _next(self, operation: Operation) -> None:
        attention = self._attention_after()
        if attention is not None:
            self._attend(attention)
        elif isinstance(operation, Embed):
            self._embed(operation)
        elif isinstance(operation, Linear):
            self._linears(operation)
        elif isinstance(operation, Norm) and operation.heads == 1:
            self._norm(operation)
        elif isinstance(operation, Gated):
            self._gated(operation)
        elif isinstance(operation, Hadamard):
            self._add(operation, HadamardStep(operation))
        elif isinstance(operation, Rotate):
            self._add(operation, RotateStep(operation) if operation.angles is not None else PlainStep(operation))
        elif isinstance(operation, PLAIN):
            self._add(operation, PlainStep(operation))
        else:
            name = type(operation).__name__.lower()
            raise UnsupportedError(f"The GPU's engine has no kernel for '{name}' at this place; use the device cpu.")

    @property
    def _following(self) -> Operation | None:
        return self.plan.operations[self.at] if self.at < len(self.plan.operations) else None

    def _add(self, operation: Operation, step: Step) -> None:
        self.at += 1
        self.steps.append(step)
        self.fresh.pop(operation.out, None)

    def _embed(self, operation: Embed) -> None:
        out, factor = operation.out, 1.0
        self.at += 1
        match self._following:
            case Scale(out=written, x=read, factor=value) if written == read == out:
                factor = value
                self.at += 1
        self.steps.append(EmbedStep(out, operation.weight, factor))
        self.fresh.pop(out, None)

    def _norm(self, norm: Norm) -> None:
        self.at += 1
        match self._following:
            case Add(out=out, x=x, y=y) if out == x and y == norm.out and x != norm.out:
                self.at += 1
                if not self._readers(norm.out):
                    self.steps.append(NormAddStep(out, norm.x, norm))
                    self.fresh.pop(out, None)
                    return
                self.at -= 1
        self._row(RowStep(norm.out, norm.x, norm=norm, quantize=self._wanted(norm.out)))

    def _gated(self, gated: Gated) -> None:
        self.at += 1
        norm = None
        match self._following:
            case Norm(out=out, x=x, heads=1) as following if out == x == gated.out:
                norm = following
                self.at += 1
        self._row(RowStep(gated.out, gated.gate, gated.up, gated.activation, norm, self._wanted(gated.out)))

    def _row(self, step: RowStep) -> None:
        self.steps.append(step)
        self.fresh.pop(step.out, None)
        if step.quantize is not None:
            self.fresh[step.out] = step.quantize

    def _readers(self, slot: str) -> list[Operation | Head]:
        """Operations from here on that read a slot before it is written anew; the head reads the output."""
        found: list[Operation | Head] = []
        for operation in self.plan.operations[self.at :]:
            if slot in reads(operation):
                found.append(operation)
            if operation.out == slot:
                return found
        return [*found, self.plan.head] if slot == self.plan.output else found

    def _wanted(self, slot: str) -> tuple[str, int] | None:
        """How matrices that read a slot want it quantised; None where none does, or they differ."""
        readers = [reader for reader in self._readers(slot) if isinstance(reader, (Linear, Head))]
        kinds = {(reader.activations, reader.group_size) for reader in readers if reader.activations != "none"}
        return kinds.pop() if len(kinds) == 1 else None

    def _quantized(self, slot: str, activations: str, group_size: int) -> None:
        """Makes the whole numbers of a slot where no step has made them."""
        if activations != "none" and self.fresh.get(slot) != (activations, group_size):
            self._row(RowStep(slot, slot, quantize=(activations, group_size)))

    def _linears(self, first: Linear) -> None:
        """The matrices from here on that read the same slot, lie in the same way, and write slots side by side."""
        group = [first]
        self.at += 1
        while isinstance(following := self._following, Linear) and self._is_one(group[-1], following):
            group.append(following)
            self.at += 1
        out, residual = str(first.out), False
        match self._following:
            case Add(out=added, x=x, y=y) if len(group) == 1 and added == x and y == first.out:
                self.at += 1
                if self._readers(first.out):
                    self.at -= 1
                else:
                    out, residual = str(added), True
                    self.fresh.pop(added, None)
        self._quantized(first.x, first.activations, first.group_size)
        names = tuple(linear.weight for linear in group)
        biases = tuple(linear.bias for linear in group)
        self.steps.append(LinearStep(out, first.x, names, biases, first.activations, first.group_size, residual))
        for linear in group:
            self.fresh.pop(linear.out, None)

    def _is_one(self, last: Linear, following: Linear) -> bool:
        same_input = (following.x, following.activations, following.group_size) == (
            last.x,
            last.activations,
            last.group_size,
        )
        is_beside = self.neighbours.get(last.out) == following.out
        return same_input and is_beside and self.layout(following.weight) == self.layout(last.weight)

    def _attention_after(self) -> Attention | None:
        """The attention that the present operation prepares: norms and rotations of its q and k come before it."""
        end = self.at
        while end < len(self.plan.operations) and isinstance(self.plan.operations[end], (Norm, Rope)):
            end += 1
        if end == len(self.plan.operations) or not isinstance(attention := self.plan.operations[end], Attention):
            return None
        for before in self.plan.operations[self.at : end]:
            if before.out not in (attention.q, attention.k) or before.out not in reads(before):
                return None
        return attention

    def _attend(self, attention: Attention) -> None:
        before: list[Operation] = []
        while (operation := self._following) is not attention:
            assert operation is not None
            before.append(operation)
            self.at += 1
        self.at += 1
        ropes = {one.out: one for one in before if isinstance(one, Rope)}
        norms = {one.out: one for one in before if isinstance(one, Norm)}
        heads = {attention.q: attention.heads, attention.k: self.plan.caches[attention.cache].kv_heads}
        is_computed = (
            self.neighbours.get(attention.q) == attention.k
            and self.neighbours.get(attention.k) == attention.v
            and before == [*norms.values(), *ropes.values()]
            and {slot: rope.heads for slot, rope in ropes.items()} == heads
            and {slot: norm.heads for slot, norm in norms.items()} in ({}, heads)
            and len({(rope.style, rope.frequencies) for rope in ropes.values()}) == 1
            and len({norm.eps for norm in norms.values()}) <= 1
        )
        if not is_computed:
            raise UnsupportedError("The attention of this plan is none that the GPU's engine computes.")
        ordered = tuple(norms[slot] for slot in (attention.q, attention.k)) if norms else ()
        self.steps += [HeadsStep(attention, ropes[attention.q], ordered), AttentionStep(attention)]
        for slot in (attention.out, attention.q, attention.k):
            self.fresh.pop(slot, None)
