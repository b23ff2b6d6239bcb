"""Qwen3 (arXiv 2505.09388): Llama's layer with a norm on every head of q and k. BitNet-embedding-0.6B is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sterna.files.json_values import integer
from sterna.model.architecture import NORMS, Architecture, Fields, GGUFVariant, HFClass, layers_by_type
from sterna.model.builder import PlanBuilder


def plan(b: PlanBuilder) -> None:
    """As `llama`, with `q = rope(norm_q(Wq·n))` and `k = rope(norm_k(Wk·n))` head by head."""
    config = b.config
    b.embed("x", "token_embd.weight")
    for layer in range(config.num_layers):
        p = f"blk.{layer}"
        b.norm("n", "x", f"{p}.attn_norm.weight")
        b.linears("n", {"q": f"{p}.attn_q", "k": f"{p}.attn_k", "v": f"{p}.attn_v"})
        b.norm("q", "q", f"{p}.attn_q_norm.weight", heads=config.num_heads)
        b.norm("k", "k", f"{p}.attn_k_norm.weight", heads=config.num_kv_heads)
        b.rope("q", config.num_heads, layer)
        b.rope("k", config.num_kv_heads, layer)
        b.attention("a", "q", "k", "v", layer)
        b.linears("a", {"o": f"{p}.attn_output"})
        b.add("x", "x", "o")
        b.norm("n", "x", f"{p}.ffn_norm.weight")
        b.linears("n", {"gate": f"{p}.ffn_gate", "up": f"{p}.ffn_up"})
        b.gated("gate", "gate", "up")
        b.linears("gate", {"o": f"{p}.ffn_down"})
        b.add("x", "x", "o")
    b.norm("hidden", "x", "output_norm.weight")


def read_hf(raw: Mapping[str, Any], fields: Fields) -> Fields:
    """A window only where `use_sliding_window` is true, in the layers of `layer_types` or from `max_window_layers`
    on."""
    window = integer(raw, "sliding_window", 0)
    if raw.get("use_sliding_window") is not True or not window:
        return {}
    layers = layers_by_type(raw)
    if layers is None:
        layers = tuple(range(min(integer(raw, "max_window_layers", 28), fields["num_layers"]), fields["num_layers"]))
    return {"sliding_window": window, "sliding_layers": layers} if layers else {}


QWEN3 = Architecture(
    name="qwen3",
    plan=plan,
    gguf={"qwen3": GGUFVariant("silu")},
    hf={"Qwen3ForCausalLM": HFClass("silu"), "Qwen3Model": HFClass("silu")},
    written=("Qwen3ForCausalLM", "qwen3"),
    norms={**NORMS, "attn_q_norm": ("self_attn.q_norm",), "attn_k_norm": ("self_attn.k_norm",)},
    read_hf=read_hf,
)

ARCHITECTURES = (QWEN3,)
