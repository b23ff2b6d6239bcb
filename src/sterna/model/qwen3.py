"""Qwen3 (arXiv 2505.09388): Llama's layer with a norm on every head of q and k. BitNet-embedding-0.6B is one."""

from __future__ import annotations

from sterna.model.plan import Plan, PlanBuilder


def build_plan(b: PlanBuilder) -> Plan:
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
