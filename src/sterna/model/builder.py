"""Builds a plan, one call for each step of the mathematics."""

from __future__ import annotations

from collections.abc import Mapping

from sterna.model.config import ModelConfig
from sterna.model.operations import (
    Add,
    Attention,
    Conv,
    DeltaRule,
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
    Slot,
    Standardize,
    Transpose,
    Weight,
)
from sterna.model.plan import CacheGroup, Head, Plan, StateGroup
from sterna.tensor.tensor import Tensor

ROTATION = ("scales", "angles", "pairs")
"""The tensors of a matrix's own rotation (`Rotate`), `NAME_rotation.PART`."""


class PlanBuilder:
    """Appends operations; each method names its output slot first."""

    def __init__(self, config: ModelConfig, tensors: Mapping[str, Tensor], *, activations: str = "int8") -> None:
        """`activations` of ternary and INT4 matrices: `int8` or `int15`, where those of other matrices follow from the
        encoding; or `none` for all matrices."""
        self.config = config
        self.tensors = tensors
        self.wanted_activations = activations
        head = "token_embd.weight" if config.tied_head else "output.weight"
        self.plan = Plan(config.vocab_size, Head(head, *self._activations(tensors[head])), output="hidden")

    def embed(self, out: str, weight: str) -> None:
        self._append(Embed(Slot(out), Weight(weight)), self.config.hidden_size)
        if self.config.hadamard is not None and weight in self.config.hadamard.inverse:
            self.hadamard(out, out, "inverse")

    def norm(self, out: str, x: str, weight: str, *, eps: float | None = None, heads: int = 1) -> None:
        """RMSNorm of slot `x`, or of each of its `heads`; `eps` is the config's by default."""
        eps = self.config.rms_norm_eps if eps is None else eps
        self._append(Norm(Slot(out), Slot(x), Weight(weight), eps, heads), self.plan.slots[x])

    def linears(self, x: str, matrices: Mapping[str, str]) -> None:
        """Matrices that read the same slot: `matrices` maps each output slot to a tensor's name without `.weight`.

        A matrix with a norm of its own (`NAME_norm_in.weight`) reads that norm's output, and one that multiplies
        rotated activations reads its input rotated, by the transform of the config or by scales and pairs of its own
        (`NAME_rotation.PART`); its columns may have another order than those of its input (`NAME_permutation.order`).
        A `NAME.bias` is added, and the sum is standardised where the config says so.
        """
        inputs = dict.fromkeys(matrices, x)
        for out, name in matrices.items():
            norm = f"{name}_norm_in.weight"
            if norm in self.tensors:
                inputs[out] = f"{name.rpartition('.')[2]}_norm_in"
                self.norm(inputs[out], x, norm, eps=self.config.input_norm_eps)
        rotated = {out: inputs[out] for out, name in matrices.items() if self._is_rotated(f"{name}.weight")}
        for read in dict.fromkeys(rotated.values()):
            self.hadamard(f"{read}_rotated", read, "forward")
        inputs |= {out: f"{read}_rotated" for out, read in rotated.items()}
        for out, name in matrices.items():
            order, inner = f"{name}_permutation.order", f"{name.rpartition('.')[2]}_in"
            if order in self.tensors:
                read, inputs[out] = inputs[out], inner
                self._append(Permute(Slot(inner), Slot(read), Weight(order)), self.plan.slots[read])
            given = {part: f"{name}_rotation.{part}" for part in ROTATION}
            parts = {part: Weight(tensor) for part, tensor in given.items() if tensor in self.tensors}
            if parts:
                read, inputs[out] = inputs[out], inner
                self._append(Rotate(Slot(inner), Slot(read), **parts), self.plan.slots[read])
        for out, name in matrices.items():
            weight, bias = self.tensors[f"{name}.weight"], f"{name}.bias"
            operation = Linear(
                Slot(out),
                Slot(inputs[out]),
                Weight(weight.name),
                Weight(bias) if bias in self.tensors else None,
                *self._activations(weight),
            )
            self._append(operation, weight.shape[0])
            if self.config.standardize_eps is not None:
                self._append(Standardize(Slot(out), Slot(out), self.config.standardize_eps), weight.shape[0])

    def rope(self, x: str, heads: int, layer: int) -> None:
        """Rotates slot `x` in place, by the frequencies of `layer`."""
        config = self.config
        name = "rope_local" if config.has_local_rope(layer) else "rope"
        self.plan.frequencies[name] = config.rope_frequencies(layer)
        self._append(Rope(Slot(x), Slot(x), heads, config.rope_style, name), self.plan.slots[x])

    def attention(self, out: str, q: str, k: str, v: str, layer: int) -> None:
        """Causal attention with grouped heads, scaled as the config says, in the next layer of its cache group."""
        config = self.config
        window = config.window(layer)
        cache = "full" if window is None else "sliding"
        index = self.plan.caches[cache].layers if cache in self.plan.caches else 0
        self.plan.caches[cache] = CacheGroup(index + 1, config.num_kv_heads, config.head_dim, window)
        slots = Slot(out), Slot(q), Slot(k), Slot(v)
        operation = Attention(*slots, cache, index, config.num_heads, config.attention_scale)
        self._append(operation, config.num_heads * config.head_dim)

    def conv(self, out: str, x: str, weight: str, layer: int) -> None:
        """Causal convolution and SiLU of slot `x`, with the state of `layer` of the model."""
        self._append(Conv(Slot(out), Slot(x), Weight(weight), "delta", self._state(layer)), self.plan.slots[x])

    def delta_rule(self, out: str, x: str, a: str, b: str, decay: str, bias: str, layer: int) -> None:
        """The gated delta rule, with the state of `layer` of the model."""
        net = self.config.delta_net
        assert net is not None
        slots = Slot(out), Slot(x), Slot(a), Slot(b)
        order = "tiled" if net.is_tiled else "grouped"
        operation = DeltaRule(*slots, Weight(decay), Weight(bias), "delta", self._state(layer), order)
        self._append(operation, net.value_heads * net.value_dim)

    def _state(self, layer: int) -> int:
        """The index of a layer of the model among those with a state."""
        net = self.config.delta_net
        assert net is not None
        shape = net.key_heads, net.value_heads, net.key_dim, net.value_dim, net.conv_width
        self.plan.states["delta"] = StateGroup(len(net.layers), *shape)
        return net.layers.index(layer)

    def slice(self, out: str, x: str, heads: int, start: int, width: int) -> None:
        """`width` columns of each of the `heads` parts of slot `x`, from `start` on."""
        self._append(Slice(Slot(out), Slot(x), heads, start), heads * width)

    def transpose(self, out: str, x: str, rows: int, columns: int) -> None:
        self._append(Transpose(Slot(out), Slot(x), rows, columns), self.plan.slots[x])

    def gated(self, out: str, gate: str, up: str, activation: str | None = None) -> None:
        """`activation` of `gate`, the config's by default, times `up`."""
        operation = Gated(Slot(out), Slot(gate), Slot(up), activation or self.config.activation)
        self._append(operation, self.plan.slots[gate])

    def add(self, out: str, x: str, y: str) -> None:
        self._append(Add(Slot(out), Slot(x), Slot(y)), self.plan.slots[x])

    def scale(self, out: str, x: str, factor: float) -> None:
        self._append(Scale(Slot(out), Slot(x), factor), self.plan.slots[x])

    def hadamard(self, out: str, x: str, direction: str) -> None:
        """Rotates slot `x` as the config says: `forward`, or back (`inverse`)."""
        rotation, width = self.config.hadamard, self.plan.slots[x]
        assert rotation is not None
        signs = None
        if width in rotation.signs:
            signs = f"signs_{width}"
            self.plan.signs[signs] = list(rotation.signs[width])
        self._append(Hadamard(Slot(out), Slot(x), rotation.block_size, direction, signs), width)

    def finish(self) -> Plan:
        """The whole plan: where the head multiplies rotated activations, the hidden rows are rotated last."""
        if self._is_rotated(self.plan.head.weight):
            self.hadamard(self.plan.output, self.plan.output, "forward")
        return self.plan

    def _is_rotated(self, weight: str) -> bool:
        return self.config.hadamard is not None and weight in self.config.hadamard.weights

    def _activations(self, weight: Tensor) -> tuple[str, int]:
        """How the input of a matrix is quantised, and in groups of how many columns (`Linear`).

        BitNet models are trained with int8 inputs of ternary matrices. Models in group-scaled encodings are not, so
        these keep int15 where int8 is wanted. int8 inputs of INT4 matrices have a scale for each group of the weights.
        """
        encoding, wanted = weight.encoding, self.wanted_activations
        if wanted == "none":
            return wanted, 0
        if encoding.is_int4:
            return wanted, encoding.block if wanted == "int8" else 0
        if not encoding.is_ternary or (encoding.is_group_scaled and wanted == "int8"):
            return encoding.activations, 0
        return wanted, 0

    def _append(self, operation: Operation, width: int) -> None:
        assert self.plan.slots.setdefault(operation.out, width) == width, f"slot {operation.out} has two widths"
        self.plan.operations.append(operation)
