"""A forward pass as data: named slots, and operations on them. Every engine (CPU, browser, GPU) runs the same plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sterna.model.config import ModelConfig
from sterna.tensor.tensor import Tensor


@dataclass
class Plan:
    """Operations in order. A slot holds one float32 row a token; `slots` gives each row's width.

    `norm`, `gated`, `add` and `scale` may write the slot that they read.

    Operations (`kind` and its arguments; unless said otherwise they name slots):
    - `embed` weight(tensor) -> out
    - `norm` x, weight(tensor), eps, heads -> out: RMSNorm of each of `heads` equal parts, with one weight for all
    - `linear` x, weight(tensor), int8(0|1) -> out
    - `rope` x in place, heads, style(half|interleaved), table(of frequencies)
    - `attention` q, k, v, layer, heads, scale -> out: stores k and v first
    - `gated` gate, up, activation(relu2|silu|gelu) -> out; gelu is the tanh form
    - `add` x, y -> out
    - `scale` x, factor -> out
    """

    layers: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    head: str
    """Tensor of the output matrix `[vocab, hidden]`."""
    output: str = "hidden"
    """Slot of the hidden rows that the head reads."""
    slots: dict[str, int] = field(default_factory=dict)
    tables: dict[str, list[float]] = field(default_factory=dict)
    """Rotary frequencies in radians a position, one for each rotated pair."""
    operations: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON-ready values."""
        return asdict(self)


class PlanBuilder:
    """Appends operations in the order of the mathematics; each method names its output slot."""

    def __init__(self, config: ModelConfig, tensors: Mapping[str, Tensor], *, int8: bool = True) -> None:
        """`int8`: ternary matrices take int8 activations; otherwise float32."""
        self.config = config
        self.tensors = tensors
        self.int8 = int8
        self.plan = Plan(
            layers=config.num_layers,
            kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            vocab_size=config.vocab_size,
            head="token_embd.weight" if config.tied_head else "output.weight",
            tables={_rope_table(config, layer): config.rope_frequencies(layer) for layer in range(config.num_layers)},
        )

    def embed(self, out: str, weight: str) -> str:
        return self._append("embed", out, self.config.hidden_size, weight=weight)

    def norm(self, out: str, x: str, weight: str, *, eps: float | None = None, heads: int = 1) -> str:
        """RMSNorm of slot `x`, or of each of its `heads`."""
        eps = self.config.rms_norm_eps if eps is None else eps
        return self._append("norm", out, self.plan.slots[x], x=x, weight=weight, eps=eps, heads=heads)

    def linears(self, x: str, weights: Mapping[str, str]) -> None:
        """Matrices that read the same slot: `weights` maps each output slot to a tensor's name without `.weight`.

        A matrix with a norm of its own (`NAME_norm_in.weight`) reads that norm's output.
        """
        inputs = {
            out: self.norm(
                f"{name.rpartition('.')[2]}_norm_in", x, f"{name}_norm_in.weight", eps=self.config.input_norm_eps
            )
            if f"{name}_norm_in.weight" in self.tensors
            else x
            for out, name in weights.items()
        }
        for out, name in weights.items():
            weight = self.tensors[f"{name}.weight"]
            int8 = self.int8 and weight.encoding.is_ternary
            self._append("linear", out, weight.shape[0], x=inputs[out], weight=weight.name, int8=int(int8))

    def rope(self, x: str, heads: int, layer: int) -> None:
        table = _rope_table(self.config, layer)
        self.plan.operations.append(
            {"kind": "rope", "x": x, "heads": heads, "style": self.config.rope_style, "table": table}
        )

    def attention(self, out: str, layer: int) -> str:
        """Causal attention of slots `q`, `k`, `v` with grouped heads, scaled as the config says."""
        config = self.config
        return self._append(
            "attention",
            out,
            config.num_heads * config.head_dim,
            q="q",
            k="k",
            v="v",
            layer=layer,
            heads=config.num_heads,
            scale=config.attention_scale,
        )

    def gated(self, out: str, gate: str, up: str) -> str:
        width = self.plan.slots[gate]
        return self._append("gated", out, width, gate=gate, up=up, activation=self.config.activation)

    def add(self, out: str, x: str, y: str) -> str:
        return self._append("add", out, self.plan.slots[x], x=x, y=y)

    def scale(self, out: str, x: str, factor: float) -> str:
        return self._append("scale", out, self.plan.slots[x], x=x, factor=factor)

    def _append(self, kind: str, out: str, width: int, **arguments: Any) -> str:
        assert self.plan.slots.setdefault(out, width) == width, f"slot {out} has two widths"
        self.plan.operations.append({"kind": kind, "out": out, **arguments})
        return out


def _rope_table(config: ModelConfig, layer: int) -> str:
    return "rope_local" if layer in config.local_layers else "rope"
