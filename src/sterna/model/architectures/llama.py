"""Llama (arXiv 2302.13971), ternary (Falcon3-1.58bit, Falcon-E, Llama3-8B-1.58) or not: no sub-norms. Mistral
(arXiv 2310.06825) is the same, with a window in every layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sterna.files.json_values import integer
from sterna.model.architecture import Architecture, Fields, GGUFVariant, HFClass
from sterna.model.builder import PlanBuilder

MISTRAL = ("MistralForCausalLM", "MistralModel")
MISTRAL_WINDOW = 4096


def plan(b: PlanBuilder) -> None:
    """`x += Wo·attention(norm1(x))`, `x += Wdown·(act(Wgate·n) * (Wup·n))`, `n = norm2(x)`."""
    config = b.config
    b.embed("x", "token_embd.weight")
    for layer in range(config.num_layers):
        p = f"blk.{layer}"
        b.norm("n", "x", f"{p}.attn_norm.weight")
        b.linears("n", {"q": f"{p}.attn_q", "k": f"{p}.attn_k", "v": f"{p}.attn_v"})
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
    """Mistral's window; where the file has no entry for it, the default of transformers (`MistralConfig`)."""
    if raw["architectures"][0] not in MISTRAL:
        return {}
    window = integer(raw, "sliding_window", MISTRAL_WINDOW if "sliding_window" not in raw else 0)
    return {"sliding_window": window, "sliding_layers": tuple(range(fields["num_layers"]))} if window else {}


LLAMA = Architecture(
    name="llama",
    plan=plan,
    gguf={"llama": GGUFVariant("silu", rope_style="interleaved")},
    hf={name: HFClass("silu") for name in ("LlamaForCausalLM", "LlamaModel", *MISTRAL)},
    written=("LlamaForCausalLM", "llama"),
    read_hf=read_hf,
)

ARCHITECTURES = (LLAMA,)
