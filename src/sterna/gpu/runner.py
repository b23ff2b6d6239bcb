"""Runs the steps of a plan: each a launch of a kernel, with the buffers that it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import triton

from sterna.gpu.cache import Pool
from sterna.gpu.device import interpreted
from sterna.gpu.frame import Frame, Quantized, View, quantized
from sterna.gpu.kernels.attention import attention_kernel, heads_kernel, merge_kernel
from sterna.gpu.kernels.matrices import bytes_kernel, embed_kernel, float_kernel, int4_kernel
from sterna.gpu.kernels.rows import hadamard_kernel, norm_add_kernel, rotate_kernel, row_kernel
from sterna.gpu.kernels.ternary import ternary_kernel, ternary_row_kernel
from sterna.gpu.launch import launch, warps_for
from sterna.gpu.parameters import Parameters
from sterna.gpu.plain import run_plain
from sterna.gpu.steps import (
    AttentionStep,
    EmbedStep,
    HadamardStep,
    HeadsStep,
    LinearStep,
    NormAddStep,
    PlainStep,
    RotateStep,
    RowStep,
    Step,
)
from sterna.gpu.tiles import is_plain, tile_of
from sterna.model.plan import Plan

SPLITS = 8
"""Parts of a long context that are attended to at a time, where there are few tokens."""
LONG_CONTEXT = 16
"""Blocks of a context from which it is worth that,"""
FEW_TOKENS = 16
"""and the most tokens."""


Adapt = Callable[[str, torch.Tensor, torch.Tensor], None]
"""Adds to out [n, out] what changes the product of a matrix, by its name, with x [n, in]."""


class Runner:
    """What each step does, with the parameters of a plan and the buffers of a pass."""

    def __init__(
        self,
        plan: Plan,
        parameters: Parameters,
        frame: Frame,
        pools: Mapping[str, Pool],
        device: torch.device,
        adapt: Adapt = lambda weight, x, out: None,
    ) -> None:
        self.plan, self.parameters, self.frame, self.pools, self.device = plan, parameters, frame, pools, device
        self._adapt = adapt
        self._none = torch.zeros(1, device=device)
        """Stands for what a kernel does not read."""

    def run(self, steps: Sequence[Step], tokens: int) -> None:
        """Runs steps for the first `tokens` rows of the frame."""
        for step in steps:
            _DO[type(step)](self, step, tokens)

    def _multiply(self, step: LinearStep, tokens: int, x: View, form: Quantized | None, out: View) -> None:
        """out = W · x, of the first `tokens` rows; `form`: x in whole numbers, for matrices of such."""
        matrix, bias = self.parameters.matrix(step), self.parameters.biases(step)
        flags = {"RESIDUAL": step.residual, "BIAS": bias is not None}
        bias = self._none if bias is None else bias
        kind, group = matrix.layout.kind, matrix.layout.group
        tile = tile_of(matrix.layout, tokens, form.planes if form else 0)
        rows, columns = matrix.rows, matrix.layout.columns
        grid = triton.cdiv(rows, tile.rows), triton.cdiv(tokens, tile.tokens)
        options: dict[str, Any] = flags | {"ROWS": tile.rows, "num_warps": tile.warps}
        if form is None:
            launch(
                float_kernel, grid,
                matrix.data, x.rows, bias, out.rows, tokens, rows, columns, x.stride, out.stride,
                TOKENS=tile.tokens, COLUMNS=tile.depth, **options,
            )  # fmt: skip
            return
        sizes = tokens, rows, columns
        if tokens == 1 and is_plain(matrix.layout, form.planes):
            launch(
                ternary_row_kernel, (triton.cdiv(rows, tile.rows),),
                matrix.data.view(torch.int32), matrix.scales, form.codes.view(torch.int32), form.steps, form.sums, bias,
                out.rows, rows, columns, INTERPRETED=interpreted(), WORDS=tile.depth, **options,
            )  # fmt: skip
            return
        options |= {"TOKENS": tile.tokens, "PLANES": form.planes}
        if kind == "ternary":
            span = max(group, 128) if group else columns
            deep = is_plain(matrix.layout, form.planes) and columns // 128 % tile.depth == 0
            launch(
                ternary_kernel, grid,
                matrix.data, matrix.scales, form.codes, form.steps, form.sums, bias, out.rows, *sizes, span, out.stride,
                GROUP=group, BLOCKS=tile.depth if deep else 1, **options,
            )  # fmt: skip
        elif kind == "int4":
            launch(
                int4_kernel, grid,
                matrix.data, matrix.scales, matrix.zeros, form.codes, form.steps, form.sums, bias, out.rows, *sizes,
                form.padded, form.steps.stride(0), out.stride,
                GROUP=group, STEP_GROUPS=step.group_size > 0, **options,
            )  # fmt: skip
        else:
            launch(
                bytes_kernel, grid,
                matrix.data, matrix.scales, form.codes, form.steps, bias, out.rows, *sizes, form.padded, out.stride,
                GROUP=group, **options,
            )  # fmt: skip

    def _linear(self, step: LinearStep, tokens: int) -> None:
        form = None
        if step.activations != "none":
            form = self.frame.quantized(step.x, step.activations, step.group_size)
        x, out = self.frame.view(step.x), self.frame.view(step.out)
        self._multiply(step, tokens, x, form, out)
        first = 0
        for name in step.weights:
            width = self.parameters.rows(name)
            # The slots of matrices that are one lie side by side.
            part = out.rows.as_strided((tokens, width), (out.stride, 1), out.rows.storage_offset() + first)
            self._adapt(name, x.rows[:tokens], part)
            first += width

    def head(self, step: LinearStep, hidden: torch.Tensor) -> torch.Tensor:
        """Logits float32 [n, vocab_size] of hidden rows [n, hidden_size]."""
        tokens, width = hidden.shape
        logits = torch.empty((tokens, self.plan.vocab_size), device=self.device)
        x, form = View(hidden, width), None
        if step.activations != "none":
            form = quantized(tokens, width, step.activations, step.group_size, self.device)
            self._quantize(RowStep(step.x, step.x, quantize=(step.activations, step.group_size)), tokens, x, x, form)
        self._multiply(step, tokens, x, form, View(logits, self.plan.vocab_size))
        self._adapt(step.weights[0], hidden, logits)
        return logits

    def _quantize(self, step: RowStep, tokens: int, x: View, out: View, form: Quantized | None) -> None:
        """What a `RowStep` says, with these buffers."""
        width = triton.next_power_of_2(form.padded if form else x.width)
        up = self.frame.view(step.up) if step.up else x
        norm = step.norm
        launch(
            row_kernel, (tokens,),
            x.rows, up.rows, self.parameters.vector(norm.weight) if norm else self._none, out.rows,
            form.codes if form else self._none, form.steps if form else self._none, form.sums if form else self._none,
            x.width, form.padded if form else 0, x.stride, up.stride, out.stride,
            form.steps.stride(0) if form else 0, norm.eps if norm else 0.0,
            ACTIVATION=step.activation or "", NORM=norm is not None, PLANES=form.planes if form else 0,
            GROUP=step.quantize[1] if step.quantize else 0, WIDTH=width, num_warps=warps_for(width),
        )  # fmt: skip

    def _row(self, step: RowStep, tokens: int) -> None:
        form = self.frame.quantized(step.out, *step.quantize) if step.quantize else None
        self._quantize(step, tokens, self.frame.view(step.x), self.frame.view(step.out), form)

    def _norm_add(self, step: NormAddStep, tokens: int) -> None:
        x, out = self.frame.view(step.x), self.frame.view(step.out)
        width = triton.next_power_of_2(x.width)
        launch(
            norm_add_kernel, (tokens,),
            x.rows, self.parameters.vector(step.norm.weight), out.rows, x.width, x.stride, out.stride, step.norm.eps,
            WIDTH=width, num_warps=warps_for(width),
        )  # fmt: skip

    def _embed(self, step: EmbedStep, tokens: int) -> None:
        matrix, out = self.parameters.embedding(step), self.frame.view(step.out)
        kind = "float" if matrix.layout.kind in ("f16", "f32") else matrix.layout.kind
        launch(
            embed_kernel, (tokens, triton.cdiv(out.width, 1024)),
            self.frame.ids, matrix.data, matrix.scales, matrix.zeros, out.rows, out.width, matrix.layout.columns,
            out.stride, step.factor, KIND=kind, GROUP=matrix.layout.group, WIDTH=1024,
        )  # fmt: skip

    def _heads(self, step: HeadsStep, tokens: int) -> None:
        attention, frame = step.attention, self.frame
        group, pool = self.plan.caches[attention.cache], self.pools[attention.cache]
        q, k, v = (frame.view(name) for name in (attention.q, attention.k, attention.v))
        offset = q.rows.storage_offset()
        weights = [self.parameters.vector(norm.weight) for norm in step.norms] or [self._none, self._none]
        table = frame.tables[list(self.plan.caches).index(attention.cache)]
        turns = frame.turns(step.rope.frequencies)
        launch(
            heads_kernel, (tokens, attention.heads + 2 * group.kv_heads),
            q.rows, turns, *weights, pool.keys, pool.values, pool.key_scales, pool.value_scales,
            frame.positions, frame.sequences, table, attention.layer * pool.blocks, table.stride(0), q.stride,
            k.rows.storage_offset() - offset, v.rows.storage_offset() - offset,
            step.norms[0].eps if step.norms else 0.0,
            HEADS=attention.heads, KV_HEADS=group.kv_heads, SIZE=group.head_dim, PAIRS=turns.shape[1],
            INTERLEAVED=step.rope.style == "interleaved", NORM=bool(step.norms), INT8=pool.is_int8,
            WIDTH=triton.next_power_of_2(group.head_dim), num_warps=1,
        )  # fmt: skip

    def _attention(self, step: AttentionStep, tokens: int) -> None:
        attention, frame = step.attention, self.frame
        group, pool = self.plan.caches[attention.cache], self.pools[attention.cache]
        q, out = frame.view(attention.q), frame.view(attention.out)
        table = frame.tables[list(self.plan.caches).index(attention.cache)]
        heads, size = attention.heads, group.head_dim
        splits = SPLITS if frame.width >= LONG_CONTEXT and tokens <= FEW_TOKENS else 1
        parts = frame.parts(FEW_TOKENS * heads * splits * (size + 2)) if splits > 1 else self._none
        sizes = {"HEADS": heads, "SIZE": size, "SPLITS": splits, "WIDTH": triton.next_power_of_2(size)}
        launch(
            attention_kernel, (tokens, heads, splits),
            q.rows, pool.keys, pool.values, pool.key_scales, pool.value_scales, frame.positions, frame.sequences, table,
            out.rows, parts, attention.layer * pool.blocks, table.stride(0), q.stride, out.stride, attention.scale,
            group.window or 0, KV_HEADS=group.kv_heads, INT8=pool.is_int8, num_warps=8, **sizes,
        )  # fmt: skip
        if splits > 1:
            launch(merge_kernel, (tokens, heads), parts, out.rows, out.stride, num_warps=1, **sizes)

    def _hadamard(self, step: HadamardStep, tokens: int) -> None:
        operation = step.operation
        x, out = self.frame.view(operation.x), self.frame.view(operation.out)
        source = x.rows[:tokens].clone() if operation.x == operation.out else x.rows  # programs read a whole block
        rows, columns = min(operation.block, 32), min(operation.block, 128)
        signs = self._none if operation.signs is None else self.parameters.signs(operation.signs)
        launch(
            hadamard_kernel, (tokens, x.width // rows),
            source, signs, out.rows, source.stride(0), out.stride, operation.block**-0.5,
            SIGNS=operation.signs is not None, FORWARD=operation.direction == "forward",
            BLOCK=operation.block, ROWS=rows, COLUMNS=columns,
        )  # fmt: skip

    def _rotate(self, step: RotateStep, tokens: int) -> None:
        operation = step.operation
        x, out = self.frame.view(operation.x), self.frame.view(operation.out)
        rows = x.rows[:tokens] * self.parameters.vector(operation.scales)
        assert operation.angles is not None and operation.pairs is not None
        others, cosines, sines = self.parameters.rotations(operation.angles, operation.pairs)
        for other, cosine, sine in zip(others, cosines, sines, strict=True):
            turned = torch.empty_like(rows)
            launch(
                rotate_kernel, (tokens, triton.cdiv(x.width, 1024)),
                rows, other, cosine, sine, turned, x.width, rows.stride(0), turned.stride(0), WIDTH=1024,
            )  # fmt: skip
            rows = turned
        out.rows[:tokens].copy_(rows)

    def _plain(self, step: PlainStep, tokens: int) -> None:
        run_plain(step.operation, self.frame, tokens, self.parameters.vector)


_DO: dict[type, Callable[[Runner, Any, int], None]] = {
    EmbedStep: Runner._embed,
    RowStep: Runner._row,
    NormAddStep: Runner._norm_add,
    LinearStep: Runner._linear,
    HeadsStep: Runner._heads,
    AttentionStep: Runner._attention,
    HadamardStep: Runner._hadamard,
    RotateStep: Runner._rotate,
    PlainStep: Runner._plain,
}
