"""BitNet b1.58 (arXiv 2402.17764, and 2504.12285 for the 2B-4T model): a norm before each output projection."""

from __future__ import annotations

from sterna.model.plan import Plan, PlanBuilder


def build_plan(b: PlanBuilder) -> Plan:
    """`x += Wo·subln_attn(attention(norm1(x)))`, `x += Wdown·subln_ffn(act(Wgate·n) * (Wup·n))`, `n = norm2(x)`."""
    config = b.config
    b.embed("x", "token_embd.weight")
    for layer in range(config.num_layers):
        p = f"blk.{layer}"
        b.norm("n", "x", f"{p}.attn_norm.weight")
        b.linears("n", {"q": f"{p}.attn_q", "k": f"{p}.attn_k", "v": f"{p}.attn_v"})
        b.rope("q", config.num_heads, layer)
        b.rope("k", config.num_kv_heads, layer)
        b.attention("a", layer)
        b.norm("a", "a", f"{p}.attn_sub_norm.weight")
        b.linears("a", {"o": f"{p}.attn_output"})
        b.add("x", "x", "o")
        b.norm("n", "x", f"{p}.ffn_norm.weight")
        b.linears("n", {"gate": f"{p}.ffn_gate", "up": f"{p}.ffn_up"})
        b.gated("gate", "gate", "up")
        b.norm("gate", "gate", f"{p}.ffn_sub_norm.weight")
        b.linears("gate", {"o": f"{p}.ffn_down"})
        b.add("x", "x", "o")
    b.norm("hidden", "x", "output_norm.weight")
    return b.plan
