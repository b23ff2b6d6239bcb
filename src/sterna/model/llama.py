"""Llama (arXiv 2302.13971), ternary (Falcon3-1.58bit, Falcon-E, Llama3-8B-1.58) or not (Mistral too): no sub-norms."""

from __future__ import annotations

from sterna.model.plan import Plan, PlanBuilder


def build_plan(b: PlanBuilder) -> Plan:
    """`x += Wo·attention(norm1(x))`, `x += Wdown·(act(Wgate·n) * (Wup·n))`, `n = norm2(x)`."""
    config = b.config
    b.embed("x", "token_embd.weight")
    for layer in range(config.num_layers):
        p = f"blk.{layer}"
        b.norm("n", "x", f"{p}.attn_norm.weight")
        b.linears("n", {"q": f"{p}.attn_q", "k": f"{p}.attn_k", "v": f"{p}.attn_v"})
        b.rope("q", config.num_heads, layer)
        b.rope("k", config.num_kv_heads, layer)
        b.attention("a", layer)
        b.linears("a", {"o": f"{p}.attn_output"})
        b.add("x", "x", "o")
        b.norm("n", "x", f"{p}.ffn_norm.weight")
        b.linears("n", {"gate": f"{p}.ffn_gate", "up": f"{p}.ffn_up"})
        b.gated("gate", "gate", "up")
        b.linears("gate", {"o": f"{p}.ffn_down"})
        b.add("x", "x", "o")
    b.norm("hidden", "x", "output_norm.weight")
    return b.plan
